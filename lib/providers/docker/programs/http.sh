# http_status URL HOST: prints the status, then the body; 000 without an answer. Exit 69 when nothing here speaks HTTP.
http_status() {
  if command -v curl >/dev/null 2>&1; then
    curl -s -m 5 -k -o - -w '\n%{http_code}' -H "Host: $2" -- "$1" || printf '\n000'
  elif command -v wget >/dev/null 2>&1; then
    if answer=$(wget -q -T 5 -O - --no-check-certificate --header "Host: $2" -- "$1"); then printf '%s\n200' "$answer"; else printf '\n000'; fi
  else
    return 69
  fi
}
