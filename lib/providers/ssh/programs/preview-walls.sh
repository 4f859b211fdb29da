# Walls between the containers of previews and what is not theirs: their ranges are in a file, one a line.
WALLED=$PREVIEWS/walled
WALLS_UNIT=landfall-preview-walls.service

# boots_by_systemd: what starts with this machine is a unit's to say; a place that a test names has nothing to do with its boot.
boots_by_systemd() {
  [ -d /run/systemd/system ] && [ -z "${LANDFALL_PREVIEWS:-}" ]
}

# wall ACTION RANGE: iptables' ACTION with the rule that keeps containers from RANGE.
wall() {
  iptables -w "$1" DOCKER-USER -m conntrack --ctstate NEW -d "$2" -j DROP 2>/dev/null
}
