# shellcheck shell=sh
# Gives a machine its name, its login keys, its SSH host key and its IPv6 address from the provider's metadata service. Identity is
# taken once per instance: what an operator or Landfall changes later survives every reboot. A machine made from a snapshot of this
# one is another instance and gets an identity of its own. ROOT and METADATA_URL are for tests.
set -eu
umask 077
root=${ROOT-}
url=${METADATA_URL:-http://169.254.169.254}
state=$root/var/lib/landfall/metadata
key=$root/etc/ssh/ssh_host_ed25519_key
# Put there by an installation that brings a pinned host key of its own.
seeded=$root/var/lib/landfall/host-key-seeded

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() {
  printf '%s\n' "$1" >&2
}

# ask PATH FILE: what is not there (404) becomes an empty file; everything else but an answer is a failure.
ask() {
  status=$(curl -sS --noproxy '*' --connect-timeout 3 --max-time 10 --retry 8 --retry-delay 2 --retry-connrefused \
    --retry-max-time 60 -o "$2" -w '%{http_code}' "$url$1") || status=none
  case $status in
    200) ;;
    404) : >"$2" ;;
    *)
      say "The metadata service answers $1 with $status."
      exit 1
      ;;
  esac
}

# scalar NAME: a value at the top of the document
scalar() {
  sed -n "s/^$1: *//p" "$work/document" | head -n 1 | tr -d "\"' "
}

# section NAME: a list or mapping at the top of the document
section() {
  awk -v start="^$1:" '$0 ~ start { on = 1; print; next } /^[^ -]/ { on = 0 } on' "$work/document"
}

# Keys of every type that sshd takes, whatever form the list has. Options and comments are left behind.
authorized_keys() {
  tr '\n\134' '  ' |
    { grep -oE '(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) +AAAA[A-Za-z0-9+/]+=*' || true; } |
    tr -s ' '
}

# The block under `ed25519_private: |` of Landfall's user data.
host_key() {
  awk '/^  ed25519_private: \|/ { on = 1; next } on && /^    / { print substr($0, 5); next } on { exit }' "$work/user_data"
}

# put MODE FILE: replaces FILE by stdin, whole or not at all
put() {
  mkdir -p "${2%/*}"
  cat >"$2.new"
  chmod "$1" "$2.new"
  sync "$2.new" 2>/dev/null || sync
  mv -f "$2.new" "$2"
}

case $PROVIDER in
  hetzner)
    ask /hetzner/v1/metadata "$work/document"
    ask /hetzner/v1/userdata "$work/user_data"
    ask /hetzner/v1/metadata/private-networks "$work/private"
    instance=$(scalar instance-id)
    hostname=$(scalar hostname)
    section public-keys | authorized_keys >"$work/keys"
    private=$(sed -n 's/^- ip: *//p' "$work/private" | head -n 1 | tr -d "\"' ")
    ;;
  digitalocean)
    ask /metadata/v1/id "$work/id"
    ask /metadata/v1/hostname "$work/hostname"
    ask /metadata/v1/public-keys "$work/public_keys"
    ask /metadata/v1/user-data "$work/user_data"
    ask /metadata/v1/interfaces/private/0/ipv4/address "$work/private"
    instance=$(head -n 1 "$work/id")
    hostname=$(head -n 1 "$work/hostname")
    authorized_keys <"$work/public_keys" >"$work/keys"
    private=$(head -n 1 "$work/private")
    ;;
  *)
    say "$PROVIDER has no metadata service that is known here."
    exit 1
    ;;
esac

case $instance in
  '' | *[!A-Za-z0-9-]*)
    say 'The metadata service gave no usable instance id.'
    exit 1
    ;;
esac
case $hostname in
  '' | -* | *- | *[!A-Za-z0-9.-]*)
    say 'The metadata service gave no usable host name.'
    exit 1
    ;;
esac
case $private in *[!0-9.]*) private= ;; esac

# --- the network: the swarm advertises the private address, and IPv6 is not handed out by DHCP

if [ -n "$private" ]; then printf '%s\n' "$private" | put 644 "$root/run/landfall/private-ipv4"; fi

if [ "$PROVIDER" = hetzner ]; then
  network=$root/etc/systemd/network/10-landfall-public.network
  section network-config >"$work/network"
  mac=$(sed -n 's/.*mac_address: *//p' "$work/network" | head -n 1 | tr -d "\"' ")
  address=$(sed -nE "s/.*address: *[\"']?([0-9a-f:]+:[0-9a-f:]*\/[0-9]+).*/\1/p" "$work/network" | head -n 1)
  if [ -n "$address" ] && [ -n "$mac" ]; then
    printf '[Match]\nMACAddress=%s\n\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nAddress=%s\nGateway=fe80::1\n\n[DHCPv4]\nUseHostname=no\n' \
      "$mac" "$address" >"$work/public.network"
    if ! cmp -s "$work/public.network" "$network"; then
      put 644 "$network" <"$work/public.network"
      networkctl reload || say 'networkd did not read its files again; IPv6 comes with the next boot.'
    fi
  fi
fi

# --- identity, once per instance

known=
if [ -s "$state/instance" ]; then known=$(cat "$state/instance"); fi
if [ "$known" = "$instance" ]; then exit 0; fi
# What a snapshot brought along belongs to the machine that it was taken of.
if [ -n "$known" ]; then rm -f "$seeded"; fi

printf '%s\n' "$hostname" | put 644 "$root/etc/hostname"
printf '%s\n' "$hostname" >"$root/proc/sys/kernel/hostname"

if [ -s "$work/keys" ]; then
  put 600 "$root/root/.ssh/authorized_keys" <"$work/keys"
else
  say 'The metadata service names no login key; the ones that are here stay.'
fi

if [ ! -e "$seeded" ]; then
  host_key >"$work/host_key"
  if [ -s "$work/host_key" ]; then
    public=$(ssh-keygen -y -P '' -f "$work/host_key" </dev/null) || {
      say 'The host key in the user data cannot be read.'
      exit 1
    }
    rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
    printf '%s\n' "$public" | put 644 "$key.pub"
    put 600 "$key" <"$work/host_key"
  elif [ -n "$known" ]; then
    # sshd-keygen.service makes a new one.
    rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
  fi
  # After a first try that failed, sshd is up with a key that nobody expects.
  if systemctl is-active --quiet sshd.service; then systemctl reload --no-block sshd.service; fi
fi

printf '%s\n' "$instance" | put 600 "$state/instance"
