case ${STATE-} in
  open | closed) ;;
  *) fail 'A port is open or closed.' 65 ;;
esac
mkdir -p "${PANEL_PORT_FILE%/*}"
printf '%s\n' "$STATE" >"$PANEL_PORT_FILE.new"
mv -f "$PANEL_PORT_FILE.new" "$PANEL_PORT_FILE"
put_guard_up || fail 'The machine did not put its guard up (systemctl status landfall-guard).'
echo ok=1
