# publish ID: its names in DNS, and then its own health check once more: its address is new, and what it had opened is closed
publish() {
  id=$1
  for network in $(printf '%s\n' "$ALIASES" | awk -v id="$id" '$1 == id && !seen[$2]++ { print $2 }'); do
    docker network disconnect "$network" "$id"
    # shellcheck disable=SC2046
    docker network connect $(printf '%s\n' "$ALIASES" | awk -v id="$id" -v network="$network" '$1 == id && $2 == network { print "--alias", $3 }') "$network" "$id"
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

write_state
deadline=$(($(date +%s) + LIMIT_S))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
publishing=
for id in $IDS; do
  publish "$id" >"$work/$id" </dev/null &
  publishing="$publishing $!"
done
all_ended "$publishing"
find "$work" -type f -exec cat {} +
printf 'containers='
inspect_ids "$IDS ${ALSO:-}" | packed
printf '\n'
