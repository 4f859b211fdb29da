# present IDS: those of them that there are
present() {
  docker ps -aq --no-trunc | awk -v ids=" $1 " 'index(ids, " " $0 " ")'
}

# stop_all IDS, all at once; afterwards no name leads to them
stop_all() {
  found=$(present "$1")
  if [ -z "$found" ]; then return 0; fi
  # shellcheck disable=SC2086
  docker stop -t "$GRACE_S" $found >/dev/null
  # A container has ended a moment before Docker takes its address, and with it its names, away.
  tries=0
  # shellcheck disable=SC2086
  while [ -n "$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' $found | tr -d '\n')" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ]; then fail 'A stopped container keeps its address.'; fi
    sleep 0.05
  done
}

# remove_ended IDS
remove_ended() {
  found=$(present "$1")
  if [ -z "$found" ]; then return 0; fi
  # shellcheck disable=SC2086
  docker rm $found >/dev/null
}

