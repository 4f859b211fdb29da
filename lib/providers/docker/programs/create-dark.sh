# listing: every container of the stack as `<id> <service>`
listing() {
  docker ps -a --no-trunc --filter "label=com.docker.compose.project=$PROJECT" --filter label=com.docker.compose.oneoff=False \
    --format '{{.ID}} {{.Label "com.docker.compose.service"}}'
}

# dark ID: without the service's name in DNS nobody finds it before it is healthy
dark() {
  docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$1" | while IFS= read -r network; do
    if [ -z "$network" ]; then continue; fi
    docker network disconnect "$network" "$1"
    docker network connect "$network" "$1"
  done
}

before=$(listing)
set --
names=
while read -r service add; do
  if [ -z "$service" ]; then continue; fi
  existing=$(printf '%s\n' "$before" | awk -v service="$service" '$2 == service' | wc -l)
  set -- "$@" --scale "$service=$((existing + add))"
  names="$names $service"
done <<EOF
$SERVICES
EOF
set -f
# shellcheck disable=SC2046,SC2086
compose -f "$state_dir/releases/$RELEASE/config.json" create --no-recreate --no-build --pull never \
  $(scales "$OTHERS") "$@" $names >&2
set +f
listing >"$state_dir/listing.$$"
making=
while read -r id service; do
  case " $names " in *" $service "*) ;; *) continue ;; esac
  case " $KNOWN " in *" $id "*) continue ;; esac
  printf 'made=%s %s\n' "$service" "$id"
  dark "$id" </dev/null &
  making="$making $!"
done <"$state_dir/listing.$$"
rm -f "$state_dir/listing.$$"
all_ended "$making"
