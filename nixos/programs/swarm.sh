# shellcheck shell=sh
# Makes a swarm of this one node, advertised on its private address or, without a private network, on its public one. A swarm that
# exists is left as it is: leaving it would take its services, secrets and networks along. ROOT is for tests.
set -eu

say() {
  printf '%s\n' "$1" >&2
}

# Addresses of the machine's own interfaces; Docker's are in private ranges too.
addresses() {
  ip -4 -o addr show scope global | awk '$2 ~ /^(en|eth)/ { sub("/.*", "", $4); print $4 }'
}

swarm=$(docker info --format '{{.Swarm.LocalNodeState}}')
case $swarm in
  active) exit 0 ;;
  inactive) ;;
  *)
    say "This machine's swarm is \"$swarm\"; it is neither used nor replaced."
    exit 1
    ;;
esac

private=${ROOT-}/run/landfall/private-ipv4
if [ -s "$private" ]; then
  address=$(cat "$private")
  tries=0
  # The private interface gets its address after the public one.
  until addresses | grep -qxF "$address"; do
    tries=$((tries + 1))
    if [ "$tries" -ge "${TRIES:-60}" ]; then
      say "The private address $address is on no interface of this machine."
      exit 1
    fi
    sleep 1
  done
else
  address=$(addresses | grep -vE '^(10|192\.168|172\.(1[6-9]|2[0-9]|3[01]))\.' | head -n 1) || true
  if [ -z "$address" ]; then address=$(addresses | head -n 1); fi
fi
if [ -z "$address" ]; then
  say 'This machine has no IPv4 address to advertise its swarm on.'
  exit 1
fi
docker swarm init --advertise-addr "$address" --default-addr-pool "$POOL" --default-addr-pool-mask-length 24 >/dev/null
say "A swarm was made, advertised on $address."
