deadline=$(($(date +%s) + LIMIT_S))
while :; do
  waiting=
  # shellcheck disable=SC2086
  states=$(docker inspect --format '{{.State.Status}} {{with index .State "Health"}}{{.Status}}{{else}}none{{end}} {{.RestartCount}}' $IDS 2>/dev/null || echo gone)
  while IFS= read -r now; do
    case $(state_of "$now") in
      healthy) ;;
      starting) waiting=yes ;;
      *) waiting=failed && break ;;
    esac
  done <<EOF
$states
EOF
  if [ "$waiting" != yes ] || [ "$(date +%s)" -ge "$deadline" ]; then break; fi
  sleep 0.1
done
report_health
