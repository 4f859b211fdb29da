# Where the stack lies, and Compose in whichever form it is installed.
if [ -n "${STATE:-}" ]; then
  state_dir=$STATE
elif [ "$(id -u)" = 0 ]; then
  state_dir=/var/lib/landfall/stacks/$PROJECT
else
  state_dir=${XDG_STATE_HOME:-$HOME/.local/state}/landfall/stacks/$PROJECT
fi
command -v docker >/dev/null 2>&1 || fail 'There is no docker command here.' 69

compose_command=${COMPOSE:-}
# A plugin that is run by itself starts in a fraction of the time it takes through docker, which first asks every plugin who it is.
find_compose() {
  if [ -n "$compose_command" ]; then return 0; fi
  for folder in "${DOCKER_CONFIG:-${HOME:-}/.docker}" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker /usr/libexec/docker; do
    if [ -x "$folder/cli-plugins/docker-compose" ]; then
      compose_command=$folder/cli-plugins/docker-compose
      return 0
    fi
  done
  if docker compose version >/dev/null 2>&1; then
    compose_command='docker compose'
  elif docker-compose version --short 2>/dev/null | grep -q '^v\{0,1\}[2-9]'; then
    compose_command=docker-compose
  else
    fail 'There is no Docker Compose v2 here.' 69
  fi
}

# compose ARGUMENTS: as this project, never asking
compose() {
  find_compose
  if [ "$compose_command" = 'docker compose' ]; then
    docker compose -p "$PROJECT" --project-directory "$DIRECTORY" "$@" </dev/null
  else
    "$compose_command" -p "$PROJECT" --project-directory "$DIRECTORY" "$@" </dev/null
  fi
}

# all_ended PIDS: waits for programs in the background; the first that failed ends this one
all_ended() {
  for each in $1; do wait "$each"; done
}

# ids_of SERVICE: every container of it, also those that do not run
ids_of() {
  docker ps -aq --no-trunc --filter "label=com.docker.compose.project=$PROJECT" \
    --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False
}

# listing: every container of the stack as `<id> <service> <networks, with commas>`
listing() {
  docker ps -a --no-trunc --filter "label=com.docker.compose.project=$PROJECT" --filter label=com.docker.compose.oneoff=False \
    --format '{{.ID}} {{.Label "com.docker.compose.service"}} {{.Networks}}'
}

# count_of SERVICE LISTING: how many containers it has
count_of() {
  printf '%s\n' "$2" | awk -v service="$1" '$2 == service' | wc -l
}

# scales SERVICES LISTING: words that hold every one of them at the number of containers that it has. Without them Compose brings
# what a service depends on to its wanted number, and so removes a container that was just made beside another.
scales() {
  for each in $1; do
    count=$(count_of "$each" "$2")
    # Compose 2.26 refuses a number of 0, and any number for a service that the wanted one does not depend on.
    if [ "$count" -gt 0 ]; then printf -- '--scale %s=%s ' "$each" "$count"; fi
  done
}

packed() {
  gzip -c | base64 | tr -d '\n'
}

# A container that has never run has no key Health at all.
INSPECT='{"id":{{json .Id}},"name":{{json .Name}},"service":{{json (index .Config.Labels "com.docker.compose.service")}},"state":{{json .State.Status}},"health":{{with index .State "Health"}}{{json .Status}}{{else}}"none"{{end}},"exitCode":{{.State.ExitCode}},"imageId":{{json .Image}},"image":{{json .Config.Image}},"configHash":{{json (index .Config.Labels "com.docker.compose.config-hash")}},"madeFrom":{{json (index .Config.Labels "com.docker.compose.project.config_files")}},"networks":{{json .NetworkSettings.Networks}}}'

# inspect_ids IDS [FORMAT]: what FORMAT says of each; a container that went away meanwhile has nothing
inspect_ids() {
  if [ -z "$1" ]; then return 0; fi
  {
    # shellcheck disable=SC2086
    problems=$(docker inspect --type container --format "${2:-$INSPECT}" $1 2>&1 >&3 | grep -vi 'no such' || true)
  } 3>&1
  if [ -n "$problems" ]; then fail "$problems"; fi
}
