# publish ID: its names in DNS, and then its own health check once more: its address is new, and what it had opened is closed
publish() {
  id=$1
  docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$id" | while IFS= read -r network; do
    if [ -z "$network" ]; then continue; fi
    set --
    while read -r of on alias; do
      if [ "$of" = "$id" ] && [ "$on" = "$network" ]; then set -- "$@" --alias "$alias"; fi
    done <<EOF
$ALIASES
EOF
    docker network disconnect "$network" "$id"
    docker network connect "$@" "$network" "$id"
  done
  check_again
}

separator=$(printf '\036')
check_again() {
  check=$(docker inspect --format '{{with index .Config "Healthcheck"}}{{range .Test}}{{.}}{{"\x1e"}}{{end}}{{end}}' "$id")
  old_ifs=$IFS
  IFS=$separator
  set -f
  # shellcheck disable=SC2086
  set -- $check
  set +f
  IFS=$old_ifs
  form=${1:-NONE}
  if [ "$#" -gt 0 ]; then shift; fi
  case $form in
    CMD) ;;
    CMD-SHELL) set -- sh -c "$@" ;;
    *)
      printf 'health=%s healthy \n' "$id"
      return 0
      ;;
  esac
  until timeout 30 docker exec "$id" "$@" >/dev/null 2>&1 </dev/null; do
    if [ "$(date +%s)" -ge "$deadline" ] || [ "$(docker inspect --format '{{.State.Running}}' "$id" 2>/dev/null)" != true ]; then
      printf 'health=%s unhealthy %s\n' "$id" "$(encoded "$(said_by "$id")")"
      return 0
    fi
    sleep 0.2
  done
  printf 'health=%s healthy \n' "$id"
}

deadline=$(($(date +%s) + LIMIT_S))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
publishing=
for id in $IDS; do
  publish "$id" >"$work/$id" </dev/null &
  publishing="$publishing $!"
done
all_ended "$publishing"
cat "$work"/*
