#!/bin/sh
# Makes the root file system of a container machine: a stock Debian 12 server with OpenSSH, cloud-init, ufw and Docker Engine, as a
# vendor's image would be, except that its network is set up from outside and its datasource is a URL.
# recipe.sh ROOT MIRROR
set -eu
root=$1
mirror=${2:-http://deb.debian.org/debian}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

cleanup() {
  for mounted in proc dev/pts; do umount "$root/$mounted" 2>/dev/null || :; done
}
trap cleanup EXIT

debootstrap --variant=minbase bookworm "$root" "$mirror"

# What nobody reads in a test is not unpacked, and an image that is thrown away on failure needs no fsync.
mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
cat >"$root/etc/dpkg/dpkg.cfg.d/machine" <<'CFG'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
CFG
printf 'deb %s bookworm main\n' "$mirror" >"$root/etc/apt/sources.list"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"

in_root() {
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
}
in_root apt-get update -q
in_root apt-get install -y -q --no-install-recommends systemd systemd-sysv dbus openssh-server cloud-init ufw iptables docker.io containerd \
  curl ca-certificates iproute2 unattended-upgrades procps iputils-ping netbase psmisc

# Compose v2 is not in bookworm; the binary of a newer suite is static and runs as it is.
lists=$root/tmp/newer
mkdir -p "$lists/state/lists/partial" "$lists/cache/archives/partial" "$lists/parts"
printf 'deb %s trixie main\n' "$mirror" >"$lists/sources.list"
newer() {
  in_root sh -c 'cd /tmp/newer && exec apt-get -q -o Dir::Etc::SourceList=/tmp/newer/sources.list -o Dir::Etc::SourceParts=/tmp/newer/parts \
    -o Dir::State::Lists=/tmp/newer/state/lists -o Dir::Cache=/tmp/newer/cache -o APT::Sandbox::User=root "$@"' newer "$@"
}
newer update
newer download docker-compose
dpkg -x "$lists"/docker-compose_*.deb "$lists/compose"
install -m 755 "$lists/compose/usr/libexec/docker/cli-plugins/docker-compose" "$root/usr/lib/docker/cli-plugins/docker-compose"

# --- a server that has not booted yet
in_root apt-get clean
rm -rf "$root/var/lib/apt/lists"/* "$root/tmp"/* "$root/usr/sbin/policy-rc.d" "$root"/etc/ssh/ssh_host_* "$root/var/log"/*.log \
  "$root/etc/hostname" "$root/etc/resolv.conf" "$root/var/lib/docker" "$root/var/cache/debconf"/*-old
: >"$root/etc/machine-id"
