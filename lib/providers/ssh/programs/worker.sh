# The marks of an installation that makes a server ready to join a swarm, in place of those of a Dokploy's.
UNIT=landfall-worker-install
STAGE_FILE=/var/lib/landfall/worker-install.stage
# shellcheck disable=SC2034 # not every program that shares this uses it
INSTALL_LOG=/var/log/landfall/worker-install.log
