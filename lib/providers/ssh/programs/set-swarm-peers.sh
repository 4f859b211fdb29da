# Nobody but these neighbours reaches the swarm's ports; without any, nobody does.
case ${PEERS-} in *[!0-9.\ ]*) fail 'PEERS are IPv4 addresses with spaces between.' 65 ;; esac
mkdir -p "${SWARM_PEERS_FILE%/*}"
# shellcheck disable=SC2086 # a list of addresses
printf '%s\n' ${PEERS-} >"$SWARM_PEERS_FILE.new"
mv -f "$SWARM_PEERS_FILE.new" "$SWARM_PEERS_FILE"
put_guard_up || fail 'The machine did not put its guard up (systemctl status landfall-guard).'
echo ok=1
