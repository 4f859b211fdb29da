backup=$(mktemp -d "$state_dir/nginx.XXXXXX")
trap 'rm -rf "$backup"' EXIT
: >"$backup/files"

number=0
while read -r path64 text64; do
  if [ -z "$path64" ]; then continue; fi
  path=$(printf %s "$path64" | base64 -d)
  [ -d "${path%/*}" ] || [ "$text64" = - ] || fail "The folder of $path is not there." 66
  kept=-
  if [ -f "$path" ]; then
    number=$((number + 1))
    kept=$number
    cp -p "$path" "$backup/$kept"
  fi
  printf '%s %s\n' "$path64" "$kept" >>"$backup/files"
done <<EOF
$FILE_LIST
EOF

# put_back: every file as it was, also one that was removed
put_back() {
  while read -r path64 kept; do
    path=$(printf %s "$path64" | base64 -d)
    if [ "$kept" = - ]; then
      rm -f "$path"
    else
      cp -p "$backup/$kept" "${path%/*}/.landfall-$$.new"
      mv -f "${path%/*}/.landfall-$$.new" "$path"
    fi
  done <"$backup/files"
}

# turned: whether every worker that serves is one of the new configuration
turned() {
  tries=0
  while :; do
    active=$(serving_in "$(titles)")
    if [ -n "$active" ] && ! any_of "$active" "$before"; then return 0; fi
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then return 1; fi
    sleep 0.02
  done
}

end() {
  printf 'state=%s\nproof=%s\nsaid=%s\n' "$1" "$2" "$(encoded "$3")"
  for worker in $old_workers; do printf 'worker=%s\n' "$worker"; done
  exit 0
}

stuck() {
  put_back
  docker exec "$nginx_id" nginx -s reload >&2 || true
  end stuck unasked "$1"
}

# Containers that have ended leave meanwhile: nginx has nothing to do with them any more.
removing=
if [ -n "${IDS:-}" ]; then
  remove_ended "$IDS" &
  removing=$!
fi
seen=$(titles)
before=$(serving_in "$seen")
old_workers=$(printf '%s\n' "$seen" | awk '{ print $1 }')
put_files "$FILE_LIST"
# This reads the whole configuration before it tells the running nginx anything. What only shows when files and sockets are opened,
# the running nginx refuses by itself: it goes on with the old.
if ! said=$(docker exec "$nginx_id" nginx -s reload 2>&1); then
  put_back
  old_workers=
  end refused unasked "$said"
fi
turned || stuck "$(docker logs --tail 15 "$nginx_id" 2>&1)"

proof=unasked
if [ -n "${PROOF_TOKEN:-}" ]; then
  tries=0
  while :; do
    answer=$(http_status "http://${PROOF_ADDRESS:-127.0.0.1}:$PROOF_PORT/" landfall 2>/dev/null) || break
    case $answer in "$PROOF_TOKEN"*) proof=seen && break ;; esac
    tries=$((tries + 1))
    if [ "$tries" -gt 40 ]; then stuck 'It took the new files up, but did not answer with the release.'; fi
    sleep 0.1
  done
fi

all_ended "$removing"
write_state
end switched "$proof" ''
