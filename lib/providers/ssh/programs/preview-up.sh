checked_number
checked_head
mkdir -p "$place"
chmod 700 "$place"
if [ -n "${WHY:-}" ]; then
  # What was there is of another commit: it goes, so that nobody takes it for this one.
  if [ -s "$place/compose.json" ]; then docker compose -p "$project" -f "$place/compose.json" --env-file /dev/null down -v --remove-orphans -t 5 >/dev/null 2>&1 || true; fi
  write_state failed "$WHY"
  echo state=failed
  exit 0
fi
source=$(realpath "$place/source")
# Links are followed here, as the build would follow them.
printf '%s' "$BUILD_PATHS" | while IFS= read -r path || [ -n "$path" ]; do
  real=$(realpath "$place/source/$path" 2>/dev/null) || real=
  case $real/ in
    "$source"/*) ;;
    *) exit 9 ;;
  esac
done || {
  write_state failed 'A path of the build is not there, or leads out of the repository.'
  echo state=failed
  exit 0
}
printf '%s' "$COMPOSE" >"$place/compose.json"
printf '%s' "${VARIABLES:-}" >"$place/variables.env"
printf '%s\n' "$SERVICES" >"$place/services"
log=$place/deploy.log
compose() {
  # Only what is named reaches Compose, so that a file's ${…} finds nothing of this session.
  env -i PATH="$PATH" HOME=/root ${DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"} ${DOCKER_CONFIG:+DOCKER_CONFIG="$DOCKER_CONFIG"} docker compose -p "$project" -f "$place/compose.json" --env-file "$place/variables.env" --project-directory "$source" "$@"
}
# answers: the service that visitors reach speaks HTTP. Without a health check Compose calls a container that has just begun running good.
answers() {
  waited=0
  while [ "$waited" -lt "$LIMIT" ]; do
    id=$(docker ps -q --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$SERVICE" | head -n 1)
    if [ -n "$id" ]; then
      address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$id" 2>/dev/null | cut -d ' ' -f 1) || address=
      if [ -n "$address" ] && curl -s -o /dev/null --noproxy '*' --max-time 5 "http://$address:$PORT/"; then return 0; fi
      restarts=$(docker inspect --format '{{.RestartCount}}' "$id" 2>/dev/null) || restarts=0
      if [ "$restarts" -ge 3 ]; then
        echo "$SERVICE was restarted $restarts times." >>"$log"
        return 1
      fi
    fi
    waited=$((waited + 1))
    sleep 1
  done
  echo "$SERVICE did not answer HTTP on port $PORT within $LIMIT s." >>"$log"
  return 1
}
if compose up -d --build --remove-orphans --force-recreate --wait --wait-timeout "$LIMIT" >"$log" 2>&1 && answers; then
  connect_edge "$project"
  write_state up -
  echo state=up
else
  { tail -n 15 "$log"; compose logs --no-color --tail 15 2>&1; } >"$place/why"
  why=$(tail -c 1500 "$place/why")
  docker network disconnect -f "${project}_default" "$EDGE" >/dev/null 2>&1 || true
  compose down -v --remove-orphans -t 5 >/dev/null 2>&1 || true
  write_state failed "$why"
  echo state=failed
fi
rm -f "$place/variables.env"
docker image prune -f >/dev/null 2>&1 || true
