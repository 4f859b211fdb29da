# said_by ID: the last word of its health check, and the end of its log
said_by() {
  docker inspect --format '{{with index .State "Health"}}{{range .Log}}{{.Output}}{{end}}{{end}}' "$1" 2>/dev/null | tail -n 3 || true
  docker logs --tail 15 "$1" 2>&1 || true
}

# state_of "STATUS HEALTH RESTARTS"
state_of() {
  case $1 in
    'running healthy 0') echo healthy ;;
    'running starting 0') echo starting ;;
    created*) echo starting ;;
    'running unhealthy '*) echo unhealthy ;;
    '') echo gone ;;
    *) echo exited ;;
  esac
}

report_health() {
  for id in $IDS; do
    now=$(docker inspect --format '{{.State.Status}} {{with index .State "Health"}}{{.Status}}{{else}}none{{end}} {{.RestartCount}}' "$id" 2>/dev/null || true)
    state=$(state_of "$now")
    said=
    if [ "$state" != healthy ]; then said=$(said_by "$id"); fi
    printf 'health=%s %s %s\n' "$id" "$state" "$(encoded "$said")"
  done
}
