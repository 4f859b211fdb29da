# said_by ID: the last word of its health check, and the end of its log
said_by() {
  docker inspect --format '{{with index .State "Health"}}{{range .Log}}{{.Output}}{{end}}{{end}}' "$1" 2>/dev/null | tail -n 3 || true
  docker logs --tail 15 "$1" 2>&1 || true
}

# states: one line `<id> <status> <health> <restarts>` for each of IDS that exists
states() {
  # shellcheck disable=SC2086
  docker inspect --format '{{.Id}} {{.State.Status}} {{with index .State "Health"}}{{.Status}}{{else}}none{{end}} {{.RestartCount}}' $IDS 2>/dev/null || true
}

# state_of ID STATES
state_of() {
  case $(printf '%s\n' "$2" | sed -n "s/^$1 //p") in
    'running healthy 0') echo healthy ;;
    'running starting 0' | created*) echo starting ;;
    'running unhealthy '*) echo unhealthy ;;
    '') echo gone ;;
    *) echo exited ;;
  esac
}

# report_health STATES
report_health() {
  for id in $IDS; do
    state=$(state_of "$id" "$1")
    said=
    if [ "$state" != healthy ]; then said=$(said_by "$id"); fi
    printf 'health=%s %s %s\n' "$id" "$state" "$(encoded "$said")"
  done
}
