# Through Docker's own socket, because its command takes the token as an argument, where every process could read it.
case ${TOKEN-} in '' | *[!A-Za-z0-9-]*) fail 'TOKEN is not one of a swarm.' 65 ;; esac
for address in "${MANAGER-}" "${ADVERTISE_ADDR-}"; do
  case $address in '' | *[!0-9.]*) fail 'MANAGER and ADVERTISE_ADDR are IPv4 addresses.' 65 ;; esac
done

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

join() {
  code=$(printf '{"ListenAddr":"%s:2377","AdvertiseAddr":"%s","DataPathAddr":"%s","RemoteAddrs":["%s:2377"],"JoinToken":"%s"}' \
    "$ADVERTISE_ADDR" "$ADVERTISE_ADDR" "$ADVERTISE_ADDR" "$MANAGER" "$TOKEN" |
    curl -sS --noproxy '*' --max-time 60 --unix-socket /var/run/docker.sock -H 'Content-Type: application/json' \
      -o "$answer" -w '%{http_code}' --data-binary @- http://docker/swarm/join) || fail 'Docker does not answer.'
  case $code in
    200) return 0 ;;
    # Docker goes on by itself after it has answered.
    *) if grep -q 'in the background' "$answer"; then return 0; fi ;;
  esac
  fail "Docker refused to join: $(tr -d '\n' <"$answer" | head -c 600)"
}

if [ "${LEAVE-}" = yes ]; then
  case $(swarm_state) in
    *' true') fail 'This server manages a swarm of its own, which is not left for another.' ;;
    active* | error* | pending*) timeout 60 docker swarm leave >/dev/null || fail 'The swarm that it was in could not be left.' ;;
    *) ;;
  esac
fi
case $(swarm_state) in
  *' true') fail 'This server manages a swarm of its own, which is not left for another.' ;;
  active* | pending*) ;;
  inactive*) join ;;
  *) fail "Docker's swarm is \"$(swarm_state)\" (docker info)." ;;
esac
tries=0
until [ "$(swarm_state)" = 'active false' ]; do
  tries=$((tries + 1))
  if [ "$tries" -ge 60 ]; then fail "A minute after it was asked to join, the swarm is \"$(swarm_state)\" here (docker info)."; fi
  sleep 1
done
echo ok=1
