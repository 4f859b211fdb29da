# Installs Docker and Dokploy on a stock Debian or Ubuntu server. Written and started by Landfall as one named unit. Safe to run
# again at any moment: every stage looks before it acts, `swarm leave` is never used, and nothing that may hold data is removed.
set -eu
umask 022
DEBIAN_FRONTEND=noninteractive
NEEDRESTART_SUSPEND=1
LC_ALL=C
export DEBIAN_FRONTEND NEEDRESTART_SUSPEND LC_ALL

FINISHED=/var/lib/landfall/dokploy-install.finished
VOLUME_MARK=/var/lib/landfall/dokploy-postgres.volume
LOCK_FILE=/etc/landfall/images.lock

say() {
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1"
}

stop() {
  say "stopped: $1" >&2
  exit 1
}

on_exit() {
  if [ "$1" -ne 0 ]; then say "failed at stage $current with exit code $1" >&2; fi
}

stage() {
  current=$1
  printf '%s\n' "$1" >"$STAGE_FILE.new"
  mv -f "$STAGE_FILE.new" "$STAGE_FILE"
  say "stage: $1"
}

# retry TRIES PAUSE_S COMMAND…
retry() {
  retry_left=$1
  retry_pause=$2
  shift 2
  until "$@"; do
    retry_left=$((retry_left - 1))
    if [ "$retry_left" -le 0 ]; then return 1; fi
    sleep "$retry_pause"
  done
}

# read_settings FILE: known names only, and only characters that versions, addresses and image names are made of.
read_settings() {
  if [ ! -f "$1" ]; then return 0; fi
  while IFS='=' read -r setting value; do
    case $value in *[!A-Za-z0-9._:/@-]*) stop "$1 holds a value that cannot be used for $setting." ;; esac
    case $setting in
      VERSION) VERSION=$value ;;
      ADVERTISE_ADDR) ADVERTISE_ADDR=$value ;;
      POOL) POOL=$value ;;
      DOKPLOY_DIGEST) DOKPLOY_DIGEST=$value ;;
      POSTGRES_DIGEST) POSTGRES_DIGEST=$value ;;
      TRAEFIK_DIGEST) TRAEFIK_DIGEST=$value ;;
      DOKPLOY_IMAGE) DOKPLOY_IMAGE=$value ;;
      POSTGRES_IMAGE) POSTGRES_IMAGE=$value ;;
      TRAEFIK_IMAGE) TRAEFIK_IMAGE=$value ;;
      *) ;;
    esac
  done <"$1"
}

# --- packages

package_installed() {
  dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

apt_quiet() {
  apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@"
}

apt_refresh() {
  if [ -n "${refreshed-}" ]; then return 0; fi
  dpkg --configure -a
  # The lock of the package lists has no waiting option, unlike dpkg's.
  retry 30 10 apt_quiet update || stop 'The package lists could not be fetched for five minutes.'
  refreshed=yes
}

# Installs those of the named packages that are missing.
need_packages() {
  missing=
  for package in "$@"; do
    if ! package_installed "$package"; then missing="$missing $package"; fi
  done
  if [ -z "$missing" ]; then return 0; fi
  apt_refresh
  # shellcheck disable=SC2086 # a list of package names
  retry 3 10 apt_quiet install --no-install-recommends $missing || stop "These packages could not be installed:$missing."
}

# --- the host

guard_disk_and_swap() {
  free_mb=$(df -Pm /var/lib | awk 'NR == 2 { print $4 }')
  if ! docker_ready && [ "$free_mb" -lt 4096 ]; then stop "Only $free_mb MB are free under /var/lib; an installation needs 4096 MB."; fi
  memory_mb=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
  swap_mb=$(awk '/^SwapTotal:/ { print int($2 / 1024) }' /proc/meminfo)
  if [ "$memory_mb" -ge 3500 ] || [ "$swap_mb" -gt 0 ] || [ "$free_mb" -lt 8192 ]; then return 0; fi
  if [ ! -f /swapfile ]; then
    rm -f /swapfile.new
    (umask 077 && dd if=/dev/zero of=/swapfile.new bs=1M count=2048 status=none)
    mkswap /swapfile.new >/dev/null
    mv /swapfile.new /swapfile
  fi
  if swapon /swapfile; then
    if ! grep -q '^/swapfile ' /etc/fstab; then echo '/swapfile none swap sw 0 0' >>/etc/fstab; fi
  else
    say 'The swap file could not be used here; going on without swap.'
  fi
}

# Passwords are closed only when a key is there to come back with.
harden_sshd() {
  drop_in=/etc/ssh/sshd_config.d/10-landfall.conf
  if ! grep -q '^[^#]*ssh-\|^[^#]*ecdsa-\|^[^#]*sk-' /root/.ssh/authorized_keys 2>/dev/null; then
    say 'root has no authorized key, so password logins were left as they are.'
    return 0
  fi
  if ! grep -qi '^[[:space:]]*include[[:space:]].*sshd_config\.d' /etc/ssh/sshd_config; then
    stop '/etc/ssh/sshd_config does not include sshd_config.d, so passwords cannot be closed.'
  fi
  printf 'PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n' >"$drop_in.new"
  if cmp -s "$drop_in.new" "$drop_in"; then
    rm -f "$drop_in.new"
    return 0
  fi
  mv -f "$drop_in.new" "$drop_in"
  if ! sshd -t; then
    rm -f "$drop_in"
    stop 'sshd refused the key-only settings; they were taken back.'
  fi
  reload_sshd || stop 'sshd could not be reloaded.'
}

enable_security_updates() {
  need_packages unattended-upgrades
  printf 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n' >/etc/apt/apt.conf.d/52landfall
}

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
    *) stop "This server's swarm is \"$swarm_state\", not one that advertises $ADVERTISE_ADDR. Rebuild this server." ;;
  esac
  if ! docker network inspect dokploy-network >/dev/null 2>&1; then
    docker network create --driver overlay --attachable dokploy-network >/dev/null
  fi
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

# --- secrets and data

service_exists() {
  docker service inspect "$1" >/dev/null 2>&1
}

# none | empty | unused | data. "unused" is a database of an installation that never came to its end, made by this very server.
database_state() {
  if ! mountpoint=$(docker volume inspect --format '{{.Mountpoint}}' dokploy-postgres 2>/dev/null); then
    echo none
  elif [ -d "$mountpoint" ] && [ -z "$(ls -A "$mountpoint")" ]; then
    echo empty
  elif [ -e "$FINISHED" ] || [ -s "$LOGIN_FILE" ] || [ ! -s "$VOLUME_MARK" ]; then
    echo data
  elif [ "$(docker volume inspect --format '{{index .Labels "landfall.install"}}' dokploy-postgres)" = "$(cat "$VOLUME_MARK")" ]; then
    echo unused
  else
    echo data
  fi
}

random_hex() {
  od -An -tx1 -N32 /dev/urandom | tr -d ' \n'
}

create_secrets() {
  missing_secrets=
  for secret in dokploy_postgres_password dokploy_auth_secret; do
    if ! docker secret inspect "$secret" >/dev/null 2>&1; then missing_secrets="$missing_secrets $secret"; fi
  done
  if [ -n "$missing_secrets" ]; then
    case $(database_state) in
      none) ;;
      data) stop "The database holds data, but these secrets to it are lost:$missing_secrets. Rebuild this server." ;;
      *)
        for service in dokploy dokploy-postgres; do
          if service_exists "$service"; then docker service rm "$service" >/dev/null; fi
        done
        retry 30 1 remove_database_volume || stop 'The unused database volume could not be removed.'
        ;;
    esac
  fi
  for secret in $missing_secrets; do
    random_hex | docker secret create "$secret" - >/dev/null
  done
  if [ "$(database_state)" = none ]; then
    random_hex >"$VOLUME_MARK"
    docker volume create --label "landfall.install=$(cat "$VOLUME_MARK")" dokploy-postgres >/dev/null
  fi
}

remove_database_volume() {
  for container in $(docker ps -aq --filter volume=dokploy-postgres); do docker rm -f "$container" >/dev/null || return 1; done
  docker volume rm dokploy-postgres >/dev/null
}

# --- services

port_free() {
  if [ -n "$(ss -Hltn "sport = :$1")" ]; then stop "Port $1 is taken by another program (ss -ltnp names it)."; fi
}

service_runs() {
  docker service ls --format '{{.Name}} {{.Replicas}}' | grep -q "^$1 1/1"
}

# keep_image SERVICE IMAGE: an unfinished installation may have been begun with another version.
keep_image() {
  running=$(docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' "$1")
  if [ "$running" != "$2" ] && [ ! -e "$FINISHED" ]; then
    docker service update --quiet --detach --no-resolve-image --image "$2" "$1" >/dev/null
  fi
}

start_postgres() {
  image=$(resolve_image postgres "$POSTGRES_IMAGE" "$POSTGRES_DIGEST")
  if service_exists dokploy-postgres; then
    keep_image dokploy-postgres "$image"
  else
    docker service create --quiet --detach --no-resolve-image --name dokploy-postgres --constraint node.role==manager \
      --network dokploy-network --env POSTGRES_USER=dokploy --env POSTGRES_DB=dokploy \
      --secret source=dokploy_postgres_password,target=/run/secrets/postgres_password \
      --env POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password \
      --mount type=volume,source=dokploy-postgres,target=/var/lib/postgresql/data "$image" >/dev/null
  fi
  retry 90 2 service_runs dokploy-postgres || stop 'The database did not start within three minutes.'
}

start_dokploy() {
  image=$(resolve_image dokploy "$DOKPLOY_IMAGE" "$DOKPLOY_DIGEST")
  mkdir -p /etc/dokploy
  if service_exists dokploy; then
    keep_image dokploy "$image"
  else
    port_free 3000
    docker service create --quiet --detach --no-resolve-image --name dokploy --replicas 1 --constraint node.role==manager \
      --network dokploy-network --publish published=3000,target=3000,mode=host \
      --update-parallelism 1 --update-order stop-first \
      --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \
      --mount type=bind,source=/etc/dokploy,target=/etc/dokploy \
      --mount type=volume,source=dokploy,target=/root/.docker \
      --secret source=dokploy_postgres_password,target=/run/secrets/postgres_password \
      --secret source=dokploy_auth_secret,target=/run/secrets/auth_secret \
      --env POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password --env BETTER_AUTH_SECRET_FILE=/run/secrets/auth_secret \
      --env "ADVERTISE_ADDR=$ADVERTISE_ADDR" --env "RELEASE_TAG=v$VERSION" "$image" >/dev/null
  fi
}

wait_healthy() {
  retry 150 2 panel_healthy || stop 'Dokploy did not become healthy within five minutes (docker service logs dokploy).'
  service_runs dokploy || stop 'Something answers on port 3000, but Dokploy does not run.'
  wanted=$(docker image inspect --format '{{.Id}}' "$image")
  container=$(docker ps -q --filter label=com.docker.swarm.service.name=dokploy | head -n 1)
  served=$(docker inspect --format '{{.Image}}' "$container")
  if [ "$served" != "$wanted" ] && [ ! -e "$FINISHED" ]; then stop "Dokploy runs the image $served instead of $wanted."; fi
}

# Dokploy writes Traefik's settings at its first start; a mount of a missing file would become a directory.
start_traefik() {
  settings=/etc/dokploy/traefik/traefik.yml
  retry 60 1 test -f "$settings" || stop "Dokploy did not write $settings within a minute."
  if docker container inspect dokploy-traefik >/dev/null 2>&1; then
    docker start dokploy-traefik >/dev/null
    return 0
  fi
  image=$(resolve_image traefik "$TRAEFIK_IMAGE" "$TRAEFIK_DIGEST")
  port_free 80
  port_free 443
  docker run -d --name dokploy-traefik --restart always --network dokploy-network \
    -v "$settings:/etc/traefik/traefik.yml" -v /etc/dokploy/traefik/dynamic:/etc/dokploy/traefik/dynamic \
    -v /var/run/docker.sock:/var/run/docker.sock:ro -p 80:80/tcp -p 443:443/tcp -p 443:443/udp "$image" >/dev/null
}

# --- in order

current=start
trap 'on_exit "$?"' EXIT
VERSION='' ADVERTISE_ADDR='' POOL='' DOKPLOY_DIGEST='' POSTGRES_DIGEST='' TRAEFIK_DIGEST=''
DOKPLOY_IMAGE='' POSTGRES_IMAGE=postgres:16 TRAEFIK_IMAGE=traefik:v3.6.7
read_settings /etc/landfall/dokploy-install.conf
read_settings /etc/landfall/images.env
DOKPLOY_IMAGE=${DOKPLOY_IMAGE:-dokploy/dokploy:v$VERSION}
if [ -z "$VERSION" ] || [ -z "$ADVERTISE_ADDR" ] || [ -z "$POOL" ]; then stop 'The settings of this installation are incomplete.'; fi
command -v apt-get >/dev/null 2>&1 || stop 'This is neither Debian nor Ubuntu; an image that brings Dokploy itself needs no installation.'

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
stage swarm
start_swarm
stage secrets
create_secrets
stage postgres
start_postgres
stage dokploy
start_dokploy
stage health
wait_healthy
stage traefik
start_traefik
touch "$FINISHED"
stage 'done'
