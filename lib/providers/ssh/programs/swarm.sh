# What the programs about a swarm share.

# <inactive|pending|active|error|locked> <true|false: whether it manages one>
swarm_state() {
  timeout 10 docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}' 2>/dev/null || echo none false
}

