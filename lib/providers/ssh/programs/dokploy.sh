# What the programs about the Dokploy installation share: where it keeps its marks, and how its state is read.
UNIT=landfall-dokploy-install
STAGE_FILE=/var/lib/landfall/dokploy-install.stage
# shellcheck disable=SC2034 # not every program that shares this uses it
LOGIN_FILE=/etc/landfall/dokploy-login
# shellcheck disable=SC2034
INSTALL_LOG=/var/log/landfall/dokploy-install.log
# `open` or `closed`; see guard.sh
PANEL_PORT_FILE=/etc/landfall/panel-port
# Addresses that reach the swarm's ports, one a line; see guard.sh
# shellcheck disable=SC2034
SWARM_PEERS_FILE=/etc/landfall/swarm-peers

install_stage() {
  if [ -s "$STAGE_FILE" ]; then head -n 1 "$STAGE_FILE"; else echo none; fi
}

# absent | running | done | failed. A unit that a reboot ended is absent, and its stage says how far it came.
install_unit() {
  unit_state=$(systemctl show --property=ActiveState --value "$UNIT" 2>/dev/null || echo inactive)
  unit_sub=$(systemctl show --property=SubState --value "$UNIT" 2>/dev/null || echo dead)
  case $unit_state/$unit_sub in
    failed/*) echo failed ;;
    activating/* | reloading/* | deactivating/* | active/running) echo running ;;
    *)
      if [ "$(install_stage)" = 'done' ]; then
        echo 'done'
      elif [ "$unit_state" = active ]; then
        echo failed
      else
        echo absent
      fi
      ;;
  esac
}

# By the panel's own port; where that was closed after the panel got a domain, by the container's own health check.
panel_healthy() {
  if curl -fsS --noproxy '*' --max-time 5 http://127.0.0.1:3000/api/trpc/settings.health 2>/dev/null | grep -q '"status":"ok"'; then
    return 0
  fi
  [ -n "$(timeout 10 docker ps -q --filter label=com.docker.swarm.service.name=dokploy --filter health=healthy 2>/dev/null)" ]
}

# unguarded | open | closed
panel_port() {
  if ! systemctl is-active --quiet landfall-guard.service 2>/dev/null; then
    echo unguarded
  elif [ -s "$PANEL_PORT_FILE" ]; then
    head -n 1 "$PANEL_PORT_FILE"
  else
    echo open
  fi
}
