#!/bin/sh
# Installs FLAKE on TARGET, phase by phase and never rebooting: a system that never ran has no host key, machine id or swarm to clean
# away. nixos-anywhere waits for ever in several places, hence a deadline around each phase. It reads SSH_PRIVATE_KEY by itself.
set -eu

running=
# `timeout` has a process group of its own, which an interrupt of ours does not reach: it is told by name, and tells its group.
interrupted() {
  if [ -n "$running" ]; then
    kill -TERM "$running" 2>/dev/null || true
    wait "$running" || true
  fi
  printf 'The installation on %s was interrupted.\n' "$TARGET" >&2
  exit 130
}
trap interrupted INT TERM HUP

# phase NAME DEADLINE_S
phase() {
  printf 'phase: %s\n' "$1"
  # In the background, because a shell answers a signal only between two commands.
  timeout --kill-after=10 "$2" nixos-anywhere --flake "$FLAKE" --target-host "root@$TARGET" --ssh-port "${TARGET_PORT:-22}" \
    --phases "$1" </dev/null &
  running=$!
  status=0
  wait "$running" || status=$?
  running=
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    printf 'The phase %s on %s did not end within %s seconds.\n' "$1" "$TARGET" "$2" >&2
  elif [ "$status" -ne 0 ]; then
    printf 'The phase %s on %s failed with exit code %s.\n' "$1" "$TARGET" "$status" >&2
  fi
  return "$status"
}

phase kexec "${KEXEC_TIMEOUT_S:-600}"
phase disko "${DISKO_TIMEOUT_S:-900}"
phase install "${INSTALL_TIMEOUT_S:-2700}"
