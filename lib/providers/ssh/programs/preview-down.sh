checked_number
docker network disconnect -f "${project}_default" "$EDGE" >/dev/null 2>&1 || true
# By label, so that it also works for one whose file is lost.
ids=$(docker ps -aq --filter "label=com.docker.compose.project=$project")
# shellcheck disable=SC2086 # a list of ids
if [ -n "$ids" ]; then
  docker stop -t 5 $ids >/dev/null
  docker rm -fv $ids >/dev/null
fi
for network in $(docker network ls -q --filter "label=com.docker.compose.project=$project"); do docker network rm "$network" >/dev/null; done
for volume in $(docker volume ls -q --filter "label=com.docker.compose.project=$project"); do docker volume rm -f "$volume" >/dev/null; done
for image in $(docker image ls -q --filter "label=com.docker.compose.project=$project"); do docker image rm -f "$image" >/dev/null 2>&1 || true; done
rm -rf "$place"
echo ok=1
