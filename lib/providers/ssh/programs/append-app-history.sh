KEEP_ENTRIES=20
mkdir -p "$HISTORY_DIRECTORY"
chmod 700 "${HISTORY_DIRECTORY%/*}" "$HISTORY_DIRECTORY"
new=$(mktemp "$HISTORY_FILE.XXXXXX")
trap 'rm -f "$new"' EXIT
{
  if [ -f "$HISTORY_FILE" ]; then tail -n "$((KEEP_ENTRIES - 1))" "$HISTORY_FILE"; fi
  encoded "$ENTRY"
  printf '\n'
} >"$new"
chmod 600 "$new"
sync "$new" 2>/dev/null || sync
mv -f "$new" "$HISTORY_FILE"
sync "$HISTORY_DIRECTORY" 2>/dev/null || sync
echo ok=1
