# Previews of pull requests on one machine: each a folder pr-<number> with its checkout, its Compose file and its state.
PREVIEWS=${LANDFALL_PREVIEWS:-/var/lib/landfall-previews}
EDGE=landfall-edge

# checked_number: NUMBER is digits and nothing else, because it becomes a path and a name.
checked_number() {
  case $NUMBER in
    '' | 0* | *[!0-9]*) fail 'NUMBER is not the number of a pull request.' 65 ;;
  esac
  [ "${#NUMBER}" -le 9 ] || fail 'NUMBER is not the number of a pull request.' 65
  project=pr-$NUMBER
  place=$PREVIEWS/$project
}

checked_head() {
  case $HEAD in
    *[!0-9a-f]*) fail 'HEAD is not a commit.' 65 ;;
  esac
  [ "${#HEAD}" -eq 40 ] || fail 'HEAD is not a commit.' 65
  case $GENERATION in
    '' | *[!0-9co]*) fail 'GENERATION is not one.' 65 ;;
  esac
}

# write_state STATE WHY
write_state() {
  mkdir -p "$place"
  printf '%s %s %s %s %s\n' "$HEAD" "$GENERATION" "$1" "$(date +%s)" "$(encoded "${2:--}")" >"$place/state.new"
  mv -f "$place/state.new" "$place/state"
}

# edge_files: a fingerprint of all that the edge reads when it is told to.
edge_files() {
  cat "$PREVIEWS/edge/Caddyfile" "$PREVIEWS/edge/certificate.pem" "$PREVIEWS/edge/key.pem" | sha256sum | cut -d ' ' -f 1
}

# connect_edge: the edge reaches a preview through the network of its project, so that previews do not reach each other.
connect_edge() {
  if docker container inspect "$EDGE" >/dev/null 2>&1; then
    docker network connect "$1_default" "$EDGE" >/dev/null 2>&1 || docker network inspect "$1_default" >/dev/null 2>&1 || return 0
  fi
}

