#!/bin/sh
# Looks at the installed system before it becomes an image: it must be able to boot, and must hold nothing that servers would share.
set -eu
root=${MOUNT_ROOT:-/mnt}

refuse() {
  printf 'The image is refused: %s\n' "$1" >&2
  exit 1
}

if [ ! -L "$root/nix/var/nix/profiles/system" ]; then refuse "there is no system in $root."; fi
if [ -z "$(ls -A "$root/boot" 2>/dev/null)" ]; then refuse "$root/boot is empty."; fi

for path in etc/ssh/ssh_host_*_key var/lib/docker/swarm var/lib/landfall/secrets var/lib/landfall/metadata etc/landfall/dokploy-login \
  root/.ssh/authorized_keys; do
  for found in "$root"/$path; do
    if [ -e "$found" ]; then refuse "it holds $found, which every server would share."; fi
  done
done
# Setting up the boot loader may leave these; each is made anew at first boot.
rm -f "$root/etc/machine-id" "$root/var/lib/systemd/random-seed"

sync
if mountpoint -q "$root"; then umount -R "$root"; fi
printf 'The system in %s is whole and anonymous.\n' "$root"
