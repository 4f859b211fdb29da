# What previews need of a machine: Docker with Compose, git, and walls between containers and what is not theirs.
if ! command -v docker >/dev/null 2>&1 || ! docker compose version >/dev/null 2>&1 || ! command -v git >/dev/null 2>&1 || ! command -v curl >/dev/null 2>&1; then
  command -v apt-get >/dev/null 2>&1 || fail 'Docker with Compose v2, git or curl is missing, and this system has no apt-get to install them.'
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >&2 || fail 'The lists of packages could not be fetched.'
  packages='git curl ca-certificates docker.io'
  for optional in docker-cli docker-buildx docker-compose-v2; do
    if apt-cache policy "$optional" | grep -q 'Candidate: [^(]'; then packages="$packages $optional"; fi
  done
  case $packages in
    *docker-compose-v2*) ;;
    *) if apt-cache policy docker-compose | grep -Eq 'Candidate: ([0-9]+:)?2\.'; then packages="$packages docker-compose"; fi ;;
  esac
  # shellcheck disable=SC2086 # a list of package names
  apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages >&2 || fail "These could not be installed: $packages."
  systemctl enable --now docker.service >&2
  docker compose version >/dev/null 2>&1 || fail 'This distribution offers no Compose v2: take the golden image, Ubuntu 24.04 or Debian 13.'
fi
tries=0
until timeout 10 docker info >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 30 ] || fail 'Docker does not answer.'
  sleep 2
done
mkdir -p "$PREVIEWS/edge"
chmod 700 "$PREVIEWS" "$PREVIEWS/edge"
# Containers of strangers ask neither the metadata service, which shows cloud-init, nor the private network.
cat >"$PREVIEWS/walls" <<'WALLS'
#!/bin/sh
set -eu
iptables -w -N DOCKER-USER 2>/dev/null || true
for range in 169.254.169.254/32 "$@"; do
  iptables -w -C DOCKER-USER -m conntrack --ctstate NEW -d "$range" -j DROP 2>/dev/null ||
    iptables -w -I DOCKER-USER -m conntrack --ctstate NEW -d "$range" -j DROP
done
WALLS
chmod 755 "$PREVIEWS/walls"
# shellcheck disable=SC2086 # no range, or one
"$PREVIEWS/walls" ${RANGE:-}
if [ -d /run/systemd/system ] && [ -w /etc/systemd/system ]; then
  cat >/etc/systemd/system/landfall-preview-walls.service <<UNIT
[Unit]
Before=docker.service
[Service]
Type=oneshot
ExecStart=$PREVIEWS/walls ${RANGE:-}
[Install]
WantedBy=multi-user.target
UNIT
  systemctl enable landfall-preview-walls.service >/dev/null 2>&1
fi
echo ok=1
