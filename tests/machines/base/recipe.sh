#!/bin/sh
# Makes two root file systems below OUT: `machine`, a stock Debian 12 server with OpenSSH, cloud-init, ufw and Docker Engine, as a
# vendor's image would be, except that its cable and its datasource's URL come from outside; and `postgres`, a database for an image.
# recipe.sh OUT FILES [MIRROR]
set -eu
out=$1
files=$2
mirror=${3:-http://deb.debian.org/debian}
root=$out/machine
database=$out/postgres
umask 022
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

cleanup() {
  for mounted in "$root/proc" "$database/proc"; do umount "$mounted" 2>/dev/null || :; done
}
trap cleanup EXIT

# in_root ROOT COMMAND…
in_root() {
  into=$1
  shift
  chroot "$into" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
}

# install_in ROOT PACKAGE…
install_in() {
  into=$1
  shift
  mount -t proc proc "$into/proc"
  in_root "$into" apt-get install -y -q --no-install-recommends "$@"
  umount "$into/proc"
}

debootstrap --variant=minbase bookworm "$root" "$mirror"

# What nobody reads in a test is not unpacked, and an image that is thrown away on failure needs no fsync.
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
in_root "$root" apt-get update -q
cp -a "$root" "$database"

# --- the database, beside the machine

(
  mkdir -p "$database/etc/postgresql-common"
  echo 'create_main_cluster = false' >"$database/etc/postgresql-common/createcluster.conf"
  install_in "$database" postgresql-15
) >"$out/postgres.log" 2>&1 &
database_job=$!

# --- the machine

install_in "$root" systemd systemd-sysv dbus openssh-server cloud-init ufw iptables docker.io containerd curl ca-certificates \
  iproute2 unattended-upgrades procps iputils-ping netbase psmisc

# Compose v2 is not in bookworm; the binary of a newer suite is static and runs as it is.
lists=$root/tmp/newer
mkdir -p "$lists/state/lists/partial" "$lists/cache/archives/partial" "$lists/parts" "$lists/compose" "$root/usr/lib/docker/cli-plugins"
printf 'deb %s trixie main\n' "$mirror" >"$lists/sources.list"
newer() {
  in_root "$root" sh -c 'cd /tmp/newer && exec apt-get -q -o Dir::Etc::SourceList=/tmp/newer/sources.list \
    -o Dir::Etc::SourceParts=/tmp/newer/parts -o Dir::State::Lists=/tmp/newer/state/lists -o Dir::Cache=/tmp/newer/cache \
    -o APT::Sandbox::User=root "$@"' newer "$@"
}
newer update
newer download docker-compose
dpkg -x "$lists"/docker-compose_*.deb "$lists/compose"
install -m 755 "$lists/compose/usr/libexec/docker/cli-plugins/docker-compose" "$root/usr/lib/docker/cli-plugins/docker-compose"

# --- a server that has not booted yet

rm -rf "$root/var/lib/apt/lists"/* "$root/tmp"/* "$root/usr/sbin/policy-rc.d" "$root"/etc/ssh/ssh_host_* "$root/var/lib/docker" \
  "$root/etc/hostname" "$root/etc/resolv.conf" "$root/var/cache/apt"/* "$root/var/log"/*.log "$root/var/log/apt"/*
mkdir -p "$root/var/lib/docker" "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
: >"$root/etc/machine-id"
# The router refuses what it has no route to, so a name that cannot be resolved fails at once.
echo 'nameserver 185.12.64.1' >"$root/etc/resolv.conf"
cp -R "$files/." "$root/"
chmod 700 "$root/etc/landfall"
in_root "$root" systemctl enable -q landfall-images.service dokploy-stack.service
in_root "$root" systemctl mask -q getty.target console-getty.service systemd-udevd.service systemd-networkd.service

wait "$database_job" || {
  cat "$out/postgres.log"
  exit 1
}

# --- of the database's root only what it runs with: an image that every machine loads has to be small

small=$out/small
mkdir -p "$small/tmp" "$small/var/run" "$small/var/lib/postgresql" "$small/usr/bin" "$small/usr/lib" "$small/usr/share/zoneinfo/Etc"
chmod 1777 "$small/tmp"
for merged in bin lib lib64; do ln -s "usr/$merged" "$small/$merged"; done
# keep FILE…: with the libraries that it is linked with
keep() {
  for kept in "$@"; do
    (cd "$database" && cp -a --parents --dereference ".$kept" "$small")
    in_root "$database" ldd "$kept" 2>/dev/null | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u | while read -r library; do
      case $library in /usr/*) ;; *) library=/usr$library ;; esac
      (cd "$database" && cp --parents --dereference ".$library" "$small")
    done
  done
}
keep /usr/lib/postgresql/15/bin/postgres /usr/lib/postgresql/15/bin/initdb /usr/bin/dash
for tool in cat chmod chown mkdir mv rm rmdir setpriv; do keep "/usr/bin/$tool"; done
for library in "$database"/usr/lib/postgresql/15/lib/*.so; do
  case $library in *llvmjit*) ;; *) keep "${library#"$database"}" ;; esac
done
(cd "$database" && cp -a --parents ./usr/share/postgresql/15 ./usr/lib/locale/C.utf8 ./etc/passwd ./etc/group ./etc/nsswitch.conf "$small")
cp -L "$database/usr/share/zoneinfo/Etc/UTC" "$small/usr/share/zoneinfo/Etc/UTC"
ln -s dash "$small/usr/bin/sh"
rm -rf "$database"
mv "$small" "$database"
