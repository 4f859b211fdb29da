# The part of the installer that brings Dokploy, and the order of all stages.
FINISHED=/var/lib/landfall/dokploy-install.finished
VOLUME_MARK=/var/lib/landfall/dokploy-postgres.volume

# --- secrets and data

service_exists() {
  docker service inspect "$1" >/dev/null 2>&1
}

# none | empty | unused | data. "unused" is a database of an installation that never came to its end, made by this very server.
database_state() {
  if ! mountpoint=$(docker volume inspect --format '{{.Mountpoint}}' dokploy-postgres 2>/dev/null); then
    echo none
  elif [ -d "$mountpoint" ] && [ -z "$(ls -A "$mountpoint")" ]; then
    echo empty
  elif [ -e "$FINISHED" ] || [ -s "$LOGIN_FILE" ] || [ ! -s "$VOLUME_MARK" ]; then
    echo data
  elif [ "$(docker volume inspect --format '{{index .Labels "landfall.install"}}' dokploy-postgres)" = "$(cat "$VOLUME_MARK")" ]; then
    echo unused
  else
    echo data
  fi
}

# give_up SENTENCE: a rebuild is advised only where it loses nothing.
give_up() {
  case $(database_state) in
    data) ;;
    *)
      if ! docker volume ls -q | grep -qvx 'dokploy\(-postgres\)*'; then stop "$1 It holds no data: rebuild this server."; fi
      ;;
  esac
  stop "$1 Nothing was changed, because there is data in its volumes (docker volume ls): save that first."
}

random_hex() {
  od -An -tx1 -N32 /dev/urandom | tr -d ' \n'
}

create_secrets() {
  missing_secrets=
  for secret in dokploy_postgres_password dokploy_auth_secret; do
    if ! docker secret inspect "$secret" >/dev/null 2>&1; then missing_secrets="$missing_secrets $secret"; fi
  done
  if [ -n "$missing_secrets" ]; then
    case $(database_state) in
      none) ;;
      data) give_up "These secrets of Dokploy's database are lost:$missing_secrets." ;;
      *)
        for service in dokploy dokploy-postgres; do
          if service_exists "$service"; then docker service rm "$service" >/dev/null; fi
        done
        retry 30 1 remove_database_volume || stop 'The unused database volume could not be removed.'
        ;;
    esac
  fi
  for secret in $missing_secrets; do
    random_hex | docker secret create "$secret" - >/dev/null
  done
  if [ "$(database_state)" = none ]; then
    random_hex >"$VOLUME_MARK"
    docker volume create --label "landfall.install=$(cat "$VOLUME_MARK")" dokploy-postgres >/dev/null
  fi
}

remove_database_volume() {
  for container in $(docker ps -aq --filter volume=dokploy-postgres); do docker rm -f "$container" >/dev/null || return 1; done
  docker volume rm dokploy-postgres >/dev/null
}

# --- services

port_free() {
  if [ -n "$(ss -Hltn "sport = :$1")" ]; then stop "Port $1 is taken by another program (ss -ltnp names it)."; fi
}

service_runs() {
  docker service ls --format '{{.Name}} {{.Replicas}}' | grep -q "^$1 1/1"
}

# keep_image SERVICE IMAGE: an unfinished installation may have been begun with another version.
keep_image() {
  running=$(docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' "$1")
  if [ "$running" != "$2" ] && [ ! -e "$FINISHED" ]; then
    docker service update --quiet --detach --no-resolve-image --image "$2" "$1" >/dev/null
  fi
}

# One task each, found by its own address: the virtual addresses of a swarm need IPVS, which not every kernel has.
start_postgres() {
  image=$(resolve_image postgres "$POSTGRES_IMAGE" "$POSTGRES_DIGEST")
  if service_exists dokploy-postgres; then
    keep_image dokploy-postgres "$image"
  else
    docker service create --quiet --detach --no-resolve-image --name dokploy-postgres --constraint node.role==manager \
      --endpoint-mode dnsrr --network dokploy-network --env POSTGRES_USER=dokploy --env POSTGRES_DB=dokploy \
      --secret source=dokploy_postgres_password,target=/run/secrets/postgres_password \
      --env POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password \
      --mount type=volume,source=dokploy-postgres,target=/var/lib/postgresql/data "$image" >/dev/null
  fi
  retry 90 2 service_runs dokploy-postgres || stop 'The database did not start within three minutes.'
}

start_dokploy() {
  image=$(resolve_image dokploy "$DOKPLOY_IMAGE" "$DOKPLOY_DIGEST")
  mkdir -p /etc/dokploy
  if service_exists dokploy; then
    keep_image dokploy "$image"
  else
    port_free 3000
    docker service create --quiet --detach --no-resolve-image --name dokploy --replicas 1 --constraint node.role==manager \
      --endpoint-mode dnsrr --network dokploy-network --publish published=3000,target=3000,mode=host \
      --update-parallelism 1 --update-order stop-first \
      --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \
      --mount type=bind,source=/etc/dokploy,target=/etc/dokploy \
      --mount type=volume,source=dokploy,target=/root/.docker \
      --secret source=dokploy_postgres_password,target=/run/secrets/postgres_password \
      --secret source=dokploy_auth_secret,target=/run/secrets/auth_secret \
      --env POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password --env BETTER_AUTH_SECRET_FILE=/run/secrets/auth_secret \
      --env "ADVERTISE_ADDR=$ADVERTISE_ADDR" --env "RELEASE_TAG=v$VERSION" "$image" >/dev/null
  fi
}

wait_healthy() {
  retry 150 2 panel_healthy || stop 'Dokploy did not become healthy within five minutes (docker service logs dokploy).'
  # The panel answers a while before the image's own health check has been asked, and the task only counts after that.
  retry 60 2 service_runs dokploy || stop 'Something answers on port 3000, but Dokploy does not run.'
  wanted=$(docker image inspect --format '{{.Id}}' "$image")
  container=$(docker ps -q --filter label=com.docker.swarm.service.name=dokploy | head -n 1)
  served=$(docker inspect --format '{{.Image}}' "$container")
  if [ "$served" != "$wanted" ] && [ ! -e "$FINISHED" ]; then stop "Dokploy runs the image $served instead of $wanted."; fi
}

# Dokploy writes Traefik's settings at its first start; a mount of a missing file would become a directory.
start_traefik() {
  settings=/etc/dokploy/traefik/traefik.yml
  retry 60 1 test -f "$settings" || stop "Dokploy did not write $settings within a minute."
  if docker container inspect dokploy-traefik >/dev/null 2>&1; then
    docker start dokploy-traefik >/dev/null
    return 0
  fi
  image=$(resolve_image traefik "$TRAEFIK_IMAGE" "$TRAEFIK_DIGEST")
  port_free 80
  port_free 443
  docker run -d --name dokploy-traefik --restart always --network dokploy-network \
    -v "$settings:/etc/traefik/traefik.yml" -v /etc/dokploy/traefik/dynamic:/etc/dokploy/traefik/dynamic \
    -v /var/run/docker.sock:/var/run/docker.sock:ro -p 80:80/tcp -p 443:443/tcp -p 443:443/udp "$image" >/dev/null
}

# --- in order

current=start
trap 'on_exit "$?"' EXIT
trap 'exit 143' TERM
say "attempt $$ begins"
VERSION='' ADVERTISE_ADDR='' POOL='' DOKPLOY_DIGEST='' POSTGRES_DIGEST='' TRAEFIK_DIGEST=''
DOKPLOY_IMAGE='' POSTGRES_IMAGE=postgres:16 TRAEFIK_IMAGE=traefik:v3.6.7
read_settings /etc/landfall/dokploy-install.conf
read_settings /etc/landfall/images.env
DOKPLOY_IMAGE=${DOKPLOY_IMAGE:-dokploy/dokploy:v$VERSION}
if [ -z "$VERSION" ] || [ -z "$ADVERTISE_ADDR" ] || [ -z "$POOL" ]; then stop 'The settings of this installation are incomplete.'; fi
command -v apt-get >/dev/null 2>&1 || stop 'This is neither Debian nor Ubuntu; an image that brings Dokploy itself needs no installation.'

prepare_server
stage swarm
start_swarm
stage secrets
create_secrets
stage postgres
start_postgres
stage dokploy
start_dokploy
stage health
wait_healthy
stage traefik
start_traefik
touch "$FINISHED"
stage 'done'
