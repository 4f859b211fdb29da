checked_number
if [ -s "$place/deploy.log" ]; then
  echo '--- deploy'
  tail -n 40 "$place/deploy.log"
fi
for id in $(docker ps -aq --filter "label=com.docker.compose.project=$project"); do
  echo "--- $(docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}} ({{.State.Status}})' "$id")"
  docker logs --tail 60 "$id" 2>&1
done
