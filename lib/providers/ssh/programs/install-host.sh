# Installs Docker and Dokploy on a stock Debian or Ubuntu server. Written and started by Landfall as one named unit. Safe to run
# again at any moment: every stage looks before it acts, `swarm leave` is never used, and nothing that may hold data is removed.
set -eu
umask 022
DEBIAN_FRONTEND=noninteractive
NEEDRESTART_SUSPEND=1
LC_ALL=C
export DEBIAN_FRONTEND NEEDRESTART_SUSPEND LC_ALL

say() {
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1"
}

stop() {
  say "stopped: $1" >&2
  exit 1
}

on_exit() {
  if [ "$1" -ne 0 ]; then say "failed at stage $current with exit code $1" >&2; fi
  say "attempt $$ ended"
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
    # shellcheck disable=SC2034 # a worker's installer uses the pool alone
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
  # Neither of these two can wait for its lock by itself.
  retry 30 10 dpkg --configure -a || stop 'What dpkg left half installed could not be configured for five minutes.'
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

# Whether root gets in with a key under the settings as they are on disk. A second sshd that nobody else can reach is asked, before the
# real one reads them: it serves this one connection on a pipe, so there is no host key to be checked.
key_login_works() {
  sshd=$(command -v sshd)
  if ! "$sshd" -T -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null | grep -qi '^authorizedkeysfile .*\.ssh/authorized_keys'; then
    return 1
  fi
  trial=$(mktemp -d /run/landfall-login.XXXXXX)
  ssh-keygen -q -t ed25519 -N '' -f "$trial/key"
  login=0
  timeout 30 ssh -F /dev/null -i "$trial/key" -o IdentitiesOnly=yes -o BatchMode=yes \
    -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o ProxyCommand="$sshd -i -o AuthorizedKeysFile=$trial/key.pub" root@localhost true >/dev/null 2>&1 || login=1
  rm -rf "$trial"
  return "$login"
}

# Passwords are closed only when a key is there to come back with, and only when a login with one works afterwards.
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
  if [ -f "$drop_in" ]; then mv -f "$drop_in" "$drop_in.before"; fi
  mv -f "$drop_in.new" "$drop_in"
  if ! sshd -t; then
    take_back_sshd
    stop 'sshd refused the key-only settings; they were taken back.'
  fi
  if ! key_login_works; then
    take_back_sshd
    stop 'With the settings in /etc/ssh nobody could log in any more; the key-only ones were taken back, and sshd was not reloaded.'
  fi
  rm -f "$drop_in.before"
  reload_sshd || stop 'sshd could not be reloaded.'
}

take_back_sshd() {
  rm -f "$drop_in"
  if [ -f "$drop_in.before" ]; then mv -f "$drop_in.before" "$drop_in"; fi
}

enable_security_updates() {
  need_packages unattended-upgrades
  printf 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n' >/etc/apt/apt.conf.d/52landfall
}

