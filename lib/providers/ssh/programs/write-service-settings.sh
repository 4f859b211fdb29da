need_nixos
case ${HASH-} in '' | *[!0-9a-f]*) fail 'HASH is not a hash.' 65 ;; esac
# keep FILE TEXT: for root alone, whole or not at all
keep() {
  printf '%s' "$2" >"$1.new"
  chmod 600 "$1.new"
  mv -f "$1.new" "$1"
}
keep "$STATE/backend-variables.env" "${VARIABLES-}"
keep "$SETTINGS_FILE" "$SETTINGS"
systemctl reset-failed "$SERVICE" caddy.service 2>/dev/null || true
systemctl restart --no-block "$SERVICE" caddy.service || fail 'systemd did not start the service.'
# Last, so that a run that was cut short does all of it again.
printf '%s\n' "$HASH" >"$HASH_FILE.new"
mv -f "$HASH_FILE.new" "$HASH_FILE"
echo ok=1
