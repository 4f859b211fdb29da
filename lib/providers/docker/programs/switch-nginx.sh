backup=$(mktemp -d "$state_dir/nginx.XXXXXX")
trap 'rm -rf "$backup"' EXIT
: >"$backup/files"

# put_files LIST: lines of `<path> <text>`, both base64; a hyphen for the text removes the file
put_files() {
  while read -r path64 text64; do
    if [ -z "$path64" ]; then continue; fi
    path=$(printf %s "$path64" | base64 -d)
    if [ "$text64" = - ]; then rm -f "$path"; else printf %s "$text64" | base64 -d | replace_file "$path"; fi
  done <<EOF
$1
EOF
}

while read -r path64 text64; do
  if [ -z "$path64" ]; then continue; fi
  path=$(printf %s "$path64" | base64 -d)
  [ -d "${path%/*}" ] || fail "The folder of $path is not there." 66
  before=-
  if [ -f "$path" ]; then before=$(base64 <"$path" | tr -d '\n'); fi
  printf '%s %s\n' "$path64" "$before" >>"$backup/files"
done <<EOF
$FILE_LIST
EOF

# reload: 0 when every worker has the new configuration
reload() {
  before=$(serving_in "$seen")
  docker exec "$nginx_id" nginx -s reload >&2 || return 1
  tries=0
  while :; do
    active=$(serving_in "$(titles)")
    if [ -n "$active" ] && ! any_of "$active" "$before"; then return 0; fi
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then return 1; fi
    sleep 0.05
  done
}

end() {
  printf 'state=%s\nproof=%s\nsaid=%s\n' "$1" "$2" "$(encoded "$3")"
  for worker in $old_workers; do printf 'worker=%s\n' "$worker"; done
  exit 0
}

old_workers=
put_files "$FILE_LIST"
if ! said=$(docker exec "$nginx_id" nginx -t 2>&1); then
  put_files "$(cat "$backup/files")"
  end refused unasked "$said"
fi
seen=$(titles)
old_workers=$(printf '%s\n' "$seen" | awk '{ print $1 }')
if ! reload; then
  put_files "$(cat "$backup/files")"
  docker exec "$nginx_id" nginx -s reload >&2 || true
  end stuck unasked "$(docker logs --tail 15 "$nginx_id" 2>&1)"
fi

proof=unasked
if [ -n "${PROOF_TOKEN:-}" ]; then
  address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}' "$nginx_id" | sed '/^$/d' | head -n 1)
  tries=0
  while :; do
    answer=$(http_status "http://${address:-127.0.0.1}:$PROOF_PORT/" landfall 2>/dev/null) || break
    case $answer in "$PROOF_TOKEN"*) proof=seen && break ;; esac
    tries=$((tries + 1))
    if [ "$tries" -gt 40 ]; then
      put_files "$(cat "$backup/files")"
      docker exec "$nginx_id" nginx -s reload >&2 || true
      end stuck unasked 'It took the new files up, but did not answer with the release.'
    fi
    sleep 0.1
  done
fi

end switched "$proof" ''
