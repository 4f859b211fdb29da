# The part of the installer that brings Docker, the swarm and the images.
LOCK_FILE=/etc/landfall/images.lock

# --- addresses

# address_number A.B.C.D
address_number() {
  rest=$1
  number=0
  for _ in 1 2 3 4; do
    number=$((number * 256 + ${rest%%.*}))
    rest=${rest#*.}
  done
  echo "$number"
}

# overlaps CIDR CIDR
overlaps() {
  bits_a=${1#*/}
  bits_b=${2#*/}
  if [ "$bits_a" -lt "$bits_b" ]; then bits=$bits_a; else bits=$bits_b; fi
  size=$((1 << (32 - bits)))
  [ $(($(address_number "${1%/*}") / size)) -eq $(($(address_number "${2%/*}") / size)) ]
}

# Networks that this server reaches directly, without Docker's own.
local_networks() {
  ip -4 route show | awk '$1 ~ /^[0-9.]+(\/[0-9]+)?$/ && $0 !~ /dev (docker|br-|veth)/ { print ($1 ~ /\//) ? $1 : $1 "/32" }'
}

free_of_collisions() {
  for network in $(local_networks) "$POOL"; do
    if overlaps "$1" "$network"; then return 1; fi
  done
}

# --- Docker

docker_ready() {
  timeout 10 docker info >/dev/null 2>&1
}

bridge_pool() {
  for candidate in 172.20.0.0/14 172.24.0.0/14 192.168.128.0/17 172.28.0.0/14 10.192.0.0/14; do
    if free_of_collisions "$candidate"; then
      echo "$candidate"
      return 0
    fi
  done
  stop 'No address range is left for the bridge networks of containers.'
}

write_daemon_settings() {
  if [ -s /etc/docker/daemon.json ]; then
    if grep -q '"live-restore"[[:space:]]*:[[:space:]]*true' /etc/docker/daemon.json; then
      stop '/etc/docker/daemon.json turns live-restore on, which a swarm cannot use.'
    fi
    return 0
  fi
  mkdir -p /etc/docker
  chosen=$(bridge_pool)
  cat >/etc/docker/daemon.json.new <<JSON
{
  "live-restore": false,
  "log-driver": "json-file",
  "log-opts": { "max-size": "10m", "max-file": "3" },
  "default-address-pools": [{ "base": "$chosen", "size": 24 }]
}
JSON
  mv -f /etc/docker/daemon.json.new /etc/docker/daemon.json
  if docker_ready && [ -z "$(docker ps -q)" ]; then systemctl restart docker.service; fi
}

install_docker() {
  write_daemon_settings
  if ! command -v dockerd >/dev/null 2>&1; then
    apt_refresh
    version=$(apt-cache policy docker.io | awk '/Candidate:/ { print $2 }')
    case $version in '' | '(none)') stop 'The distribution offers no docker.io package.' ;; esac
    say "Docker $version from the distribution's signed repository."
    docker_packages="docker.io=$version"
    for optional in docker-cli docker-buildx docker-compose-v2; do
      if apt-cache policy "$optional" | grep -q 'Candidate: [^(]'; then docker_packages="$docker_packages $optional"; fi
    done
    # shellcheck disable=SC2086 # a list of package names
    retry 3 10 apt_quiet install --no-install-recommends $docker_packages || stop "Docker could not be installed:$docker_packages."
  fi
  # An unattended upgrade of these would restart every container.
  for held in docker.io containerd; do
    if package_installed "$held"; then apt-mark hold "$held" >/dev/null; fi
  done
  systemctl enable --now docker.service
  retry 30 2 docker_ready || stop 'Docker was installed, but does not answer.'
}

# What every server of a swarm has before it is in one.
prepare_server() {
  stage boot
  if command -v cloud-init >/dev/null 2>&1; then
    timeout 300 cloud-init status --wait >/dev/null 2>&1 || say 'cloud-init did not end well; going on.'
  fi
  stage host
  guard_disk_and_swap
  stage packages
  need_packages ca-certificates curl iproute2
  stage ssh
  harden_sshd
  stage updates
  enable_security_updates
  stage docker
  install_docker
  stage guard
  put_guard_up || stop 'The machine did not put its guard up (systemctl status landfall-guard).'
}

start_swarm() {
  swarm_state=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.NodeAddr}} {{.Swarm.ControlAvailable}}')
  case $swarm_state in
    "active $ADVERTISE_ADDR true") ;;
    inactive*)
      for network in $(local_networks); do
        if overlaps "$POOL" "$network"; then stop "The container address pool $POOL overlaps this server's network $network."; fi
      done
      docker swarm init --advertise-addr "$ADVERTISE_ADDR" --default-addr-pool "$POOL" --default-addr-pool-mask-length 24 >/dev/null
      ;;
    *) give_up "This server's swarm is \"$swarm_state\", not one that advertises $ADVERTISE_ADDR." ;;
  esac
  if ! docker network inspect dokploy-network >/dev/null 2>&1; then
    # Workers may come, and a vendor's private network takes smaller packets than Docker assumes.
    mtu=$(network_mtu "$ADVERTISE_ADDR")
    set -- --driver overlay --attachable
    if [ "${mtu:-1500}" -lt 1500 ]; then set -- "$@" --opt "com.docker.network.driver.mtu=$mtu"; fi
    docker network create "$@" dokploy-network >/dev/null
  fi
}

# network_mtu ADDRESS: of the interface that has it
network_mtu() {
  interface=$(ip -4 -o addr show | awk -v address="$1" '{ split($4, parts, "/"); if (parts[1] == address) { print $2; exit } }')
  if [ -n "$interface" ]; then ip -o link show dev "${interface%%@*}" | sed -n 's/.* mtu \([0-9]*\).*/\1/p'; fi
}

# --- images

# resolve_image NAME REFERENCE DIGEST: pulls what is missing, holds it against the lock, prints what a service shall run.
resolve_image() {
  reference=$2
  if [ -n "$3" ]; then reference=${2%@*}@$3; fi
  if ! docker image inspect "$reference" >/dev/null 2>&1; then
    retry 3 10 timeout 900 docker pull -q "$reference" >/dev/null || stop "The image $reference could not be pulled."
  fi
  repository=${reference%@*}
  case ${repository##*/} in *:*) repository=${repository%:*} ;; esac
  pinned=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$reference" | grep -F "$repository@" | head -n 1) || pinned=
  # An image that was only loaded, never pulled, has an id and no digest of a registry.
  digest=${pinned##*@}
  if [ -z "$digest" ]; then digest=$(docker image inspect --format '{{.Id}}' "$reference"); fi
  touch "$LOCK_FILE"
  locked=$(awk -v name="$1" -v reference="$2" '$1 == name && $2 == reference { print $3 }' "$LOCK_FILE" | tail -n 1)
  if [ -z "$locked" ]; then
    printf '%s %s %s\n' "$1" "$2" "$digest" >>"$LOCK_FILE"
  elif [ "$locked" != "$digest" ]; then
    stop "The image $2 was $locked and is $digest now. Delete its line in $LOCK_FILE to accept the new one."
  fi
  printf '%s\n' "${pinned:-$reference}"
}

