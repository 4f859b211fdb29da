set -eu
umask 077
PATH=/run/current-system/sw/bin:$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

# fail SENTENCE [EXIT CODE]
fail() {
  printf '%s\n' "$1" >&2
  exit "${2:-1}"
}

say() {
  printf '%s\n' "$1"
}

stage() {
  printf '%s\n' "$1" >"$WORK/stage"
}

# keep NAME TEXT: on the disk before anything that it is needed for
keep() {
  printf '%s\n' "$2" >"$WORK/$1.new"
  sync "$WORK/$1.new"
  mv -f "$WORK/$1.new" "$WORK/$1"
  sync "$WORK"
}

# over RESULT: written down; only an update that is in force is a success. What was pending stays until it is known what runs.
over() {
  printf '%s\n' "$1" >"$WORK/result"
  case $1 in updated | unchanged | returned) rm -f "$WORK/pending" ;; esac
  stage over
  case $1 in updated | unchanged) exit 0 ;; *) exit 1 ;; esac
}

# await_health PORT PATH: a first start after a change may build
await_health() {
  tries=0
  until service_healthy "$1" "$2"; do
    tries=$((tries + 1))
    if [ "$tries" -ge "${HEALTH_TRIES:-240}" ]; then return 1; fi
    sleep "${PAUSE_S:-3}"
  done
}
