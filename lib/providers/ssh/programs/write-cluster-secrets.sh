FILE=/etc/landfall/cluster.json

mkdir -p "${FILE%/*}"
chmod 700 "${FILE%/*}"
# Another set would split the cluster in two: whoever came first wins.
if [ -s "$FILE" ]; then
  [ "$(cat "$FILE")" = "$SECRETS" ] || fail 'Other secrets of a cluster are kept here already.' 5
  echo ok=1
  exit 0
fi
new=$(mktemp "$FILE.XXXXXX")
trap 'rm -f "$new"' EXIT
printf %s "$SECRETS" >"$new"
chmod 600 "$new"
sync "$new" 2>/dev/null || sync
ln "$new" "$FILE" 2>/dev/null || [ "$(cat "$FILE")" = "$SECRETS" ] || fail 'Other secrets of a cluster are kept here already.' 5
sync "${FILE%/*}" 2>/dev/null || sync
echo ok=1
