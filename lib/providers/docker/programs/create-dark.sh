# dark ID NETWORKS: without the service's name in DNS nobody finds it before it is healthy
dark() {
  for network in $(printf %s "$2" | tr , ' '); do
    docker network disconnect "$network" "$1"
    docker network connect "$network" "$1"
  done
}

write_release
write_state
before=$(listing)
set --
names=
while read -r service add; do
  if [ -z "$service" ]; then continue; fi
  set -- "$@" --scale "$service=$(($(count_of "$service" "$before") + add))"
  names="$names $service"
done <<EOF
$SERVICES
EOF
set -f
# shellcheck disable=SC2046,SC2086
compose -f "$state_dir/releases/$RELEASE/config.json" create --no-recreate --no-build --pull never \
  $(scales "$OTHERS" "$before") "$@" $names >&2
set +f
making=
after=$(listing)
while read -r id service networks; do
  case " $names " in *" $service "*) ;; *) continue ;; esac
  case " $KNOWN " in *" $id "*) continue ;; esac
  printf 'made=%s %s\n' "$service" "$id"
  dark "$id" "$networks" </dev/null &
  making="$making $!"
done <<EOF
$after
EOF
all_ended "$making"
