nginx_id=$(docker ps -q --no-trunc --filter "label=com.docker.compose.project=$PROJECT" --filter "label=com.docker.compose.service=$NGINX" --filter status=running | head -n 1)
[ -n "$nginx_id" ] || fail "The proxy $NGINX does not run." 66
backup=$(mktemp -d "$state_dir/nginx.XXXXXX")
trap 'rm -rf "$backup"' EXIT

# put_files LIST: lines of `<path> <text>`, both base64
put_files() {
  while read -r path64 text64; do
    if [ -z "$path64" ]; then continue; fi
    path=$(printf %s "$path64" | base64 -d)
    printf %s "$text64" | base64 -d | replace_file "$path"
  done <<EOF
$1
EOF
}

while read -r path64 text64; do
  if [ -z "$path64" ]; then continue; fi
  path=$(printf %s "$path64" | base64 -d)
  [ -f "$path" ] || fail "The file $path is not there." 66
  printf '%s %s\n' "$path64" "$(base64 <"$path" | tr -d '\n')" >>"$backup/files"
done <<EOF
$FILE_LIST
EOF

# workers PATTERN: process ids of nginx's workers; those that only finish their requests say so in their title
workers() {
  docker top "$nginx_id" -eo pid,args | grep 'nginx: worker process' | grep "$@" 'shutting down' | awk '{ print $1 }' || true
}
all_workers() {
  docker top "$nginx_id" -eo pid,args | awk '/nginx: worker process/ { print $1 }'
}
# any_of LIST IDS: whether one of the ids is in the list
any_of() {
  for each in $2; do
    case " $(echo $1) " in *" $each "*) return 0 ;; esac
  done
  return 1
}

# reload: 0 when every worker has the new configuration
reload() {
  before=$(workers -v)
  docker exec "$nginx_id" nginx -s reload >&2 || return 1
  tries=0
  while :; do
    active=$(workers -v)
    if [ -n "$active" ] && ! any_of "$active" "$before"; then return 0; fi
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then return 1; fi
    sleep 0.05
  done
}

end() {
  printf 'state=%s\ndrained=%s\nproof=%s\nsaid=%s\n' "$1" "$2" "$3" "$(encoded "$4")"
  exit 0
}

put_files "$FILE_LIST"
if ! said=$(docker exec "$nginx_id" nginx -t 2>&1); then
  put_files "$(cat "$backup/files")"
  end refused yes unasked "$said"
fi
old_workers=$(all_workers)
if ! reload; then
  put_files "$(cat "$backup/files")"
  docker exec "$nginx_id" nginx -s reload >&2 || true
  end stuck yes unasked "$(docker logs --tail 15 "$nginx_id" 2>&1)"
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
      end stuck yes unasked 'It took the new files up, but did not answer with the release.'
    fi
    sleep 0.1
  done
fi

drained=yes
if [ "$DRAIN_MS" -gt 0 ]; then
  tries=$((DRAIN_MS / 100))
  while any_of "$(all_workers)" "$old_workers"; do
    tries=$((tries - 1))
    if [ "$tries" -le 0 ]; then drained=no && break; fi
    sleep 0.1
  done
fi
end switched "$drained" "$proof" ''
