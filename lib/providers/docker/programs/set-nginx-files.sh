while read -r path64 text64; do
  if [ -z "$path64" ] || [ "$text64" = - ]; then continue; fi
  path=$(printf %s "$path64" | base64 -d)
  (umask 022 && mkdir -p "${path%/*}")
done <<EOF
$FILE_LIST
EOF
put_files "$FILE_LIST"
