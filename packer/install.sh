#!/bin/sh
# Installs FLAKE on TARGET, phase by phase and never rebooting: a system that never ran has no host key, machine id or swarm to clean
# away. nixos-anywhere waits for ever in several places, hence a deadline around each phase. It reads SSH_PRIVATE_KEY by itself.
set -eu

# phase NAME DEADLINE_S
phase() {
  printf 'phase: %s\n' "$1"
  status=0
  timeout --kill-after=10 "$2" nixos-anywhere --flake "$FLAKE" --target-host "root@$TARGET" --ssh-port "${TARGET_PORT:-22}" \
    --phases "$1" </dev/null || status=$?
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
