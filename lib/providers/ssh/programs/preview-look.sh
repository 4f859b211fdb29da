if command -v docker >/dev/null 2>&1 && timeout 10 docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 && command -v git >/dev/null 2>&1 && command -v curl >/dev/null 2>&1; then
  echo docker=ready
else
  echo docker=absent
  exit 0
fi
# A wall counts while its rule is in force and comes back with the machine.
walls=
if [ -s "$WALLED" ] && { ! boots_by_systemd || systemctl is-enabled --quiet "$WALLS_UNIT" 2>/dev/null; }; then
  while IFS= read -r range; do
    if wall -C "$range"; then walls="$walls $range"; fi
  done <"$WALLED"
fi
echo "walls=$walls"
if [ "$(docker container inspect --format '{{.State.Running}}' "$EDGE" 2>/dev/null)" = true ] && [ -s "$PREVIEWS/edge/Caddyfile" ] &&
  [ -s "$PREVIEWS/edge/loaded" ] && [ "$(cat "$PREVIEWS/edge/loaded")" = "$(edge_files)" ]; then
  echo "caddyfile=$(sha256sum "$PREVIEWS/edge/Caddyfile" | cut -d ' ' -f 1)"
else
  echo caddyfile=none
fi
if [ -s "$PREVIEWS/edge/certificate.pem" ] && [ -s "$PREVIEWS/edge/key.pem" ]; then
  echo "certificate=$(base64 <"$PREVIEWS/edge/certificate.pem" | tr -d '\n')"
fi
{
  docker ps -a --filter label=com.docker.compose.project --format '{{.Label "com.docker.compose.project"}}'
  docker network ls --filter label=com.docker.compose.project --format '{{.Label "com.docker.compose.project"}}'
  if [ -d "$PREVIEWS" ]; then ls "$PREVIEWS"; fi
} | grep -E '^pr-[1-9][0-9]{0,8}$' | sort -u | while IFS= read -r project; do
  run_head=- run_generation=0 state=partial since=0 why=-
  if [ -s "$PREVIEWS/$project/state" ]; then read -r run_head run_generation state since why <"$PREVIEWS/$project/state" || true; fi
  if [ "$state" = up ]; then
    wanted=$(cat "$PREVIEWS/$project/services" 2>/dev/null || echo 1)
    running=$(docker ps -q --filter "label=com.docker.compose.project=$project" --filter status=running | wc -l)
    if [ "$running" -lt "$wanted" ]; then state=down; fi
  fi
  echo "preview ${project#pr-} $run_head $run_generation $state $since $why"
done
