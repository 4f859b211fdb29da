LOGIN_FILE=/etc/landfall/dokploy-login
LOGIN_DIRECTORY=${LOGIN_FILE%/*}

kept() {
  if [ -f "$LOGIN_FILE" ]; then sed -n "s/^$1 //p" "$LOGIN_FILE" | head -n 1; fi
}

# login_line NAME given|absent VALUE
login_line() {
  if [ "$2" = given ]; then line=$(encoded "$3"); else line=$(kept "$1"); fi
  if [ -n "$line" ]; then printf '%s %s\n' "$1" "$line"; fi
}

mkdir -p "$LOGIN_DIRECTORY"
chmod 700 "$LOGIN_DIRECTORY"
new=$(mktemp "$LOGIN_FILE.XXXXXX")
trap 'rm -f "$new"' EXIT
{
  login_line EMAIL "${EMAIL+given}" "${EMAIL-}"
  login_line PASSWORD "${PASSWORD+given}" "${PASSWORD-}"
  login_line API_KEY "${API_KEY+given}" "${API_KEY-}"
} >"$new"
chmod 600 "$new"
sync "$new" 2>/dev/null || sync
mv -f "$new" "$LOGIN_FILE"
sync "$LOGIN_DIRECTORY" 2>/dev/null || sync
echo ok=1
