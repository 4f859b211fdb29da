# shellcheck shell=sh
# Starts Dokploy and its database as swarm services, once; later starts find them and only wait for their health. ROOT is for tests.
set -eu
secrets=${ROOT-}/var/lib/landfall/secrets

say() {
  printf '%s\n' "$1" >&2
}

stop() {
  say "$1"
  exit 1
}

# retry TRIES COMMAND…
retry() {
  retry_left=$1
  shift
  until "$@"; do
    retry_left=$((retry_left - 1))
    if [ "$retry_left" -le 0 ]; then return 1; fi
    sleep "${PAUSE_S:-2}"
  done
}

service_exists() {
  docker service inspect "$1" >/dev/null 2>&1
}

service_runs() {
  docker service ls --format '{{.Name}} {{.Replicas}}' | grep -q "^$1 1/1"
}

# pull REFERENCE
pull() {
  if docker image inspect "$1" >/dev/null 2>&1; then return 0; fi
  retry 3 docker pull -q "$1" >/dev/null || stop "The image $1 could not be pulled."
}

# The port is closed from outside, and unpublished altogether once the panel has a name of its own.
healthy() {
  if curl -fsS --noproxy '*' --max-time 5 http://127.0.0.1:3000/api/health >/dev/null 2>&1; then return 0; fi
  [ -n "$(docker ps -q --filter label=com.docker.swarm.service.name=dokploy --filter health=healthy)" ]
}

[ "$(docker info --format '{{.Swarm.LocalNodeState}}')" = active ] || stop 'There is no swarm yet.'

for archive in $ARCHIVES; do
  if ! service_exists dokploy; then docker load -q -i "$archive" >/dev/null; fi
done

for name in dokploy_postgres_password dokploy_auth_secret dokploy_encryption_key; do
  if docker secret inspect "$name" >/dev/null 2>&1; then continue; fi
  [ -s "$secrets/$name" ] || stop "$secrets/$name is missing."
  docker secret create "$name" "$secrets/$name" >/dev/null
done
if ! docker network inspect dokploy-network >/dev/null 2>&1; then
  docker network create --driver overlay --attachable dokploy-network >/dev/null
fi

if ! service_exists dokploy-postgres; then
  pull "$POSTGRES_IMAGE"
  docker service create --quiet --detach --name dokploy-postgres --constraint node.role==manager --network dokploy-network \
    --env POSTGRES_USER=dokploy --env POSTGRES_DB=dokploy \
    --secret source=dokploy_postgres_password,target=/run/secrets/postgres_password \
    --env POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password \
    --mount type=volume,source=dokploy-postgres,target=/var/lib/postgresql/data "$POSTGRES_IMAGE" >/dev/null
fi
retry 90 service_runs dokploy-postgres || stop 'The database did not start within three minutes.'

if ! service_exists dokploy; then
  pull "$DOKPLOY_IMAGE"
  address=$(docker info --format '{{.Swarm.NodeAddr}}')
  # A swarm cannot publish on loopback alone: the host's own port it is, and the firewall lets nobody else to it.
  docker service create --quiet --detach --name dokploy --replicas 1 --constraint node.role==manager --network dokploy-network \
    --publish published=3000,target=3000,mode=host --update-parallelism 1 --update-order stop-first \
    --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \
    --mount type=bind,source=/etc/dokploy,target=/etc/dokploy \
    --mount type=volume,source=dokploy,target=/root/.docker \
    --secret source=dokploy_postgres_password,target=/run/secrets/postgres_password \
    --secret source=dokploy_auth_secret,target=/run/secrets/auth_secret \
    --secret source=dokploy_encryption_key,target=/run/secrets/encryption_key \
    --env POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password --env BETTER_AUTH_SECRET_FILE=/run/secrets/auth_secret \
    --env ENCRYPTION_KEY_FILE=/run/secrets/encryption_key \
    --env "ADVERTISE_ADDR=$address" --env "RELEASE_TAG=v$VERSION" "$DOKPLOY_IMAGE" >/dev/null
fi
retry 300 healthy || stop 'Dokploy did not become healthy within ten minutes (docker service logs dokploy).'
