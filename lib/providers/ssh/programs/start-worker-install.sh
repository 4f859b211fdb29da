INSTALLER=/usr/local/lib/landfall/install-worker

docker_answers() {
  timeout 10 docker info >/dev/null 2>&1
}

accept POOL "${POOL-}" '0-9./'
attach_install docker_answers
start_install /etc/landfall/worker-install.conf <<SETTINGS
POOL=$POOL
SETTINGS
