# put_files LIST: lines of `<path> <text>`, both base64; a hyphen for the text removes the file. A new one is readable for the proxy,
# which need not be root.
put_files() {
  while read -r path64 text64; do
    if [ -z "$path64" ]; then continue; fi
    path=$(printf %s "$path64" | base64 -d)
    if [ "$text64" = - ]; then rm -f "$path"; else printf %s "$text64" | base64 -d | (umask 022 && replace_file "$path"); fi
  done <<EOF
$1
EOF
}

