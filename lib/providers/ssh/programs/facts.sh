release() {
  sed -n "s/^$1=//p" /etc/os-release 2>/dev/null | head -n 1 | tr -cd 'A-Za-z0-9._-'
}

# The installer of NixOS is a NixOS too, with a variant; it keeps its progress in memory, where a reboot ends both.
system_kind() {
  case $(release ID) in
    nixos) if [ "$(release VARIANT_ID)" = installer ]; then echo installer; else echo nixos; fi ;;
    *) echo stock ;;
  esac
}

install_phase() {
  case $(cat /run/landfall/install-phase 2>/dev/null || true) in
    disko) echo disko ;;
    install) echo install ;;
    *) echo none ;;
  esac
}

# What an installation by Landfall wrote down: `run=…`, `content=…`.
installed() {
  sed -n "s/^$1=//p" /var/lib/landfall/installed 2>/dev/null | head -n 1 | tr -cd 'A-Za-z0-9._-'
}

# cloud-init leaves result.json when it has ended; its errors are an empty list when all went well.
cloud_init_state() {
  if [ -f /run/cloud-init/result.json ]; then
    if tr -d ' \n' </run/cloud-init/result.json | grep -q '"errors":\[\]'; then echo 'done'; else echo error; fi
  elif [ -e /run/cloud-init/disabled ] || [ ! -d /run/cloud-init ]; then
    echo none
  else
    echo running
  fi
}

# Its own words, without the frame that it puts around them.
cloud_init_error() {
  tr -d '\n' </run/cloud-init/result.json | sed 's/.*"errors"[^[]*\[ *//; s/ *\][^]]*$//' | head -c 600
}

# An image that brings Dokploy itself runs it as a stack, whose services carry the stack's name.
dokploy_state() {
  case $(install_unit) in
    running) echo installing ;;
    'done') echo installed ;;
    failed) echo failed ;;
    *)
      if [ "$(install_stage)" != none ]; then
        echo failed
      elif timeout 5 docker service inspect dokploy >/dev/null 2>&1 || timeout 5 docker service inspect dokploy_dokploy >/dev/null 2>&1; then
        echo installed
      else
        case $(systemctl is-active dokploy-stack.service 2>/dev/null || true) in
          activating) echo installing ;;
          failed) echo failed ;;
          *) echo absent ;;
        esac
      fi
      ;;
  esac
}

# Whether it was made ready to join a swarm.
worker_state() (
  UNIT=landfall-worker-install
  STAGE_FILE=/var/lib/landfall/worker-install.stage
  case $(install_unit) in
    running) echo installing ;;
    'done') echo installed ;;
    failed) echo failed ;;
    *) if [ "$(install_stage)" = none ]; then echo absent; else echo failed; fi ;;
  esac
)

docker_info=$(timeout 5 docker info --format '{{.ServerVersion}} {{.Swarm.LocalNodeState}} {{.Swarm.NodeID}}' 2>/dev/null || true)
docker_version=${docker_info%% *}
swarm=inactive
case $docker_info in *' active' | *' active '*) swarm=active ;; esac
swarm_node=
if [ "$swarm" = active ]; then swarm_node=$(printf %s "${docker_info##* }" | tr -cd 'a-z0-9'); fi
read -r uptime _ </proc/uptime
client=${SSH_CONNECTION:-}
login=absent
if [ -s "$LOGIN_FILE" ]; then login=present; fi

printf 'os=%s-%s\n' "$(release ID)" "$(release VERSION_ID)"
printf 'uptime_s=%s\n' "${uptime%%.*}"
printf 'clock_s=%s\n' "$(date +%s)"
printf 'memory_mb=%s\n' "$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)"
printf 'disk_free_mb=%s\n' "$(df -Pm / | awk 'NR == 2 { print $4 }')"
printf 'docker=%s\n' "${docker_version:-none}"
printf 'swarm=%s\n' "$swarm"
printf 'swarm_node=%s\n' "$swarm_node"
printf 'swarm_peers=%s\n' "$(head -n 1 /run/landfall/swarm-peers 2>/dev/null | tr -cd '0-9. ' || true)"
printf 'worker=%s\n' "$(worker_state)"
cloud_init=$(cloud_init_state)
printf 'cloud_init=%s\n' "$cloud_init"
if [ "$cloud_init" = error ]; then printf 'cloud_init_error=%s\n' "$(encoded "$(cloud_init_error)")"; fi
printf 'dokploy=%s\n' "$(dokploy_state)"
printf 'dokploy_login=%s\n' "$login"
printf 'system=%s\n' "$(system_kind)"
printf 'install_phase=%s\n' "$(install_phase)"
printf 'installed_by=%s\n' "$(installed run)"
printf 'panel_port=%s\n' "$(panel_port)"
printf 'ssh_client=%s\n' "${client%% *}"
