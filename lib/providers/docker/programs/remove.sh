all=" $(docker ps -aq --no-trunc | tr '\n' ' ') "
present=
for id in $IDS; do
  case $all in *" $id "*) present="$present $id" ;; esac
done
if [ -n "$present" ]; then
  # shellcheck disable=SC2086
  docker stop -t "$GRACE_S" $present >/dev/null
  # shellcheck disable=SC2086
  docker rm $present >/dev/null
fi
