# What the programs about the backend service and about updates share. ROOT is for tests.
ROOT=${ROOT-}
STATE=$ROOT/var/lib/landfall
SETTINGS_FILE=$STATE/backend.env
# shellcheck disable=SC2034 # not every program that shares this uses it
HASH_FILE=$STATE/backend.hash
INSTALLED_FILE=$STATE/installed
SERVICE_HOME=$ROOT/var/lib/backend
SOURCE=$SERVICE_HOME/source
# shellcheck disable=SC2034
SERVICE=landfall-backend.service
export GIT_TERMINAL_PROMPT=0

need_nixos() {
  if [ ! -s "$INSTALLED_FILE" ]; then fail 'This machine does not run a NixOS that Landfall installed.' 3; fi
}

# setting NAME: a value of the settings, as they were written
setting() {
  sed -n "s/^$1=\"\(.*\)\"\$/\1/p" "$SETTINGS_FILE" 2>/dev/null | head -n 1
}

as_service() {
  setpriv --reuid=backend --regid=backend --init-groups env HOME="$SERVICE_HOME" "$@"
}

service_git() {
  as_service git -C "$SOURCE" "$@"
}

# active | activating | failed | inactive …
unit_word() {
  word=$(systemctl is-active "$1" 2>/dev/null || true)
  printf '%s\n' "${word:-inactive}"
}

service_healthy() {
  curl -fsS --noproxy '*' --max-time 5 -o /dev/null "http://127.0.0.1:${1:-3000}${2:-/}" 2>/dev/null
}

# update_unit KIND: absent | running | done | failed. What a reboot ended is absent, and its stage says how far it came.
update_unit() {
  update_state=$(systemctl show --property=ActiveState --value "landfall-update-$1" 2>/dev/null || echo inactive)
  update_sub=$(systemctl show --property=SubState --value "landfall-update-$1" 2>/dev/null || echo dead)
  case $update_state/$update_sub in
    failed/*) echo failed ;;
    activating/* | reloading/* | deactivating/* | active/running) echo running ;;
    active/*) echo 'done' ;;
    *) echo absent ;;
  esac
}

# start_update KIND DEADLINE_S: runs $STATE/update-KIND/run as a unit, or attaches to the one that runs
start_update() {
  systemctl stop "landfall-update-$1.service" 2>/dev/null || true
  systemctl reset-failed "landfall-update-$1.service" 2>/dev/null || true
  rm -f "$STATE/update-$1/result"
  echo begun >"$STATE/update-$1/stage"
  systemd-run --quiet --unit="landfall-update-$1" --remain-after-exit --property=KillMode=mixed \
    --property=StandardOutput="append:$STATE/update-$1/log" --property=StandardError="append:$STATE/update-$1/log" \
    timeout --kill-after=30 "$2" "$STATE/update-$1/run" || fail 'systemd did not start the update.'
  echo unit=started
}
