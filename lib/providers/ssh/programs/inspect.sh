# A worker knows no services, only its own tasks of them.
timeout 8 docker service ls --format 'service {{.Name}} {{.Replicas}} {{.Image}}' 2>/dev/null ||
  timeout 8 docker ps -a --filter label=com.docker.swarm.service.name \
    --format 'task {{.Label "com.docker.swarm.service.name"}} {{.State}} {{.Image}}' 2>/dev/null || true
# Plain containers only: tasks of a service are counted by their service.
timeout 8 docker ps -a --format '{{.Label "com.docker.swarm.service.name"}}|{{.Names}} {{.State}} {{.Image}}' 2>/dev/null |
  sed -n -e 's/^|\([^ ]*\) running /service \1 1\/1 /p' -e 's/^|\([^ ]*\) \(created\|exited\|dead\|paused\|restarting\) /service \1 0\/1 /p' || true
if [ -f /run/cloud-init/result.json ] && ! tr -d ' \n' </run/cloud-init/result.json | grep -q '"errors":\[\]'; then
  printf 'cloud_init_error %s\n' "$(head -c 4096 /run/cloud-init/result.json | base64 | tr -d '\n')"
fi
