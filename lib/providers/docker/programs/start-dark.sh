existing=$(ids_of "$SERVICE" | wc -l)
set -f
# shellcheck disable=SC2046
compose -f "$state_dir/releases/$RELEASE/config.json" create --no-recreate --no-build --pull never \
  $(scales "$OTHERS") --scale "$SERVICE=$((existing + ADD))" "$SERVICE" >&2
set +f
fresh=
for id in $(ids_of "$SERVICE"); do
  case " $KNOWN " in
    *" $id "*) ;;
    *) fresh="$fresh $id" ;;
  esac
done
for id in $fresh; do
  # Without the service's name in DNS nobody finds it before it is healthy.
  docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$id" | while IFS= read -r network; do
    if [ -z "$network" ]; then continue; fi
    docker network disconnect "$network" "$id"
    docker network connect "$network" "$id"
  done
done
# shellcheck disable=SC2086
if [ -n "$fresh" ]; then docker start $fresh >/dev/null; fi
for id in $fresh; do printf 'id=%s\n' "$id"; done
