# What previews need of a machine: walls between containers and what is not theirs; then Docker with Compose, git and curl.
has() {
  command -v "$1" >/dev/null 2>&1
}

lists=old
fetch_lists() {
  [ "$lists" = old ] || return 0
  has apt-get || fail 'Docker with Compose v2, iptables, git or curl is missing, and this system has no apt-get to install them.'
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >&2 || fail 'The lists of packages could not be fetched.'
  lists=new
}

# install PACKAGE…
install() {
  fetch_lists
  apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" >&2 || fail "These could not be installed: $*."
}

if ! has iptables || ! has git || ! has curl; then install iptables git curl ca-certificates; fi
mkdir -p "$PREVIEWS/edge"
chmod 700 "$PREVIEWS" "$PREVIEWS/edge"
# Containers of strangers ask neither the metadata service, which shows cloud-init, nor the private network.
wanted="169.254.169.254/32 ${RANGE:-}"
if [ -s "$WALLED" ]; then
  while IFS= read -r range; do
    case " $wanted " in
      *" $range "*) ;;
      *) wall -D "$range" || true ;;
    esac
  done <"$WALLED"
fi
# shellcheck disable=SC2086 # one range, or two
printf '%s\n' $wanted >"$WALLED"
cat >"$PREVIEWS/walls" <<'WALLS'
#!/bin/sh
set -eu
iptables -w -N DOCKER-USER 2>/dev/null || true
while IFS= read -r range; do
  iptables -w -C DOCKER-USER -m conntrack --ctstate NEW -d "$range" -j DROP 2>/dev/null ||
    iptables -w -I DOCKER-USER -m conntrack --ctstate NEW -d "$range" -j DROP
done <"${0%/*}/walled"
WALLS
chmod 755 "$PREVIEWS/walls"
if boots_by_systemd; then
  # Docker starts the containers of before by itself, and does not start without the walls.
  cat >"/etc/systemd/system/$WALLS_UNIT" <<UNIT || fail 'No unit can be installed on this system: previews need a stock Ubuntu 24.04 or Debian 13.'
[Unit]
Description=Walls around the containers of previews (Landfall)
Before=docker.service
[Service]
Type=oneshot
ExecStart=$PREVIEWS/walls
[Install]
RequiredBy=docker.service
UNIT
  systemctl enable --quiet "$WALLS_UNIT" >&2
fi
"$PREVIEWS/walls"

if ! has docker || ! docker compose version >/dev/null 2>&1; then
  fetch_lists
  packages=docker.io
  for optional in docker-cli docker-buildx docker-compose-v2; do
    if apt-cache policy "$optional" | grep -q 'Candidate: [^(]'; then packages="$packages $optional"; fi
  done
  case $packages in
    *docker-compose-v2*) ;;
    *) if apt-cache policy docker-compose | grep -Eq 'Candidate: ([0-9]+:)?2\.'; then packages="$packages docker-compose"; fi ;;
  esac
  # shellcheck disable=SC2086 # a list of package names
  install $packages
  systemctl enable --now docker.service >&2
  docker compose version >/dev/null 2>&1 || fail 'This distribution offers no Compose v2: previews need a stock Ubuntu 24.04 or Debian 13.'
fi
tries=0
until timeout 10 docker info >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 30 ] || fail 'Docker does not answer.'
  sleep 2
done
echo ok=1
