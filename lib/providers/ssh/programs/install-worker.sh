# A server that is ready to join a swarm: all that a Dokploy's has, without a swarm of its own.

current=start
trap 'on_exit "$?"' EXIT
trap 'exit 143' TERM
say "attempt $$ begins"
POOL=''
read_settings /etc/landfall/worker-install.conf
if [ -z "$POOL" ]; then stop 'The settings of this installation are incomplete.'; fi
command -v apt-get >/dev/null 2>&1 || stop 'This is neither Debian nor Ubuntu.'

prepare_server
stage 'done'
