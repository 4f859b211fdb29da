# shellcheck shell=sh
# Starts Traefik, once; Docker itself starts it again after that. ROOT is for tests.
set -eu
settings=${ROOT-}/etc/dokploy/traefik/traefik.yml

# Dokploy writes the settings at its first start; a mount of a missing file would become a directory.
tries=0
until [ -f "$settings" ]; do
  tries=$((tries + 1))
  if [ "$tries" -ge "${TRIES:-120}" ]; then
    printf '%s\n' "Dokploy did not write $settings." >&2
    exit 1
  fi
  sleep 1
done

if docker container inspect dokploy-traefik >/dev/null 2>&1; then
  docker start dokploy-traefik >/dev/null
  exit 0
fi
docker run -d --name dokploy-traefik --restart always --network dokploy-network \
  -v /etc/dokploy/traefik/traefik.yml:/etc/traefik/traefik.yml -v /etc/dokploy/traefik/dynamic:/etc/dokploy/traefik/dynamic \
  -v /var/run/docker.sock:/var/run/docker.sock:ro -p 80:80/tcp -p 443:443/tcp -p 443:443/udp "$TRAEFIK_IMAGE" >/dev/null
