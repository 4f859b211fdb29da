present=
for id in $IDS; do
  if docker inspect --type container --format '{{.Id}}' "$id" >/dev/null 2>&1; then present="$present $id"; fi
done
if [ -n "$present" ]; then
  # shellcheck disable=SC2086
  docker stop -t "$GRACE_S" $present >/dev/null
  # shellcheck disable=SC2086
  docker rm $present >/dev/null
fi
