INSTALLER=/usr/local/lib/landfall/install-dokploy
CONFIG=/etc/landfall/dokploy-install.conf

# accept NAME VALUE ALLOWED-CHARACTERS
accept() {
  if [ -z "$2" ] || [ -n "$(printf %s "$2" | tr -d "$3")" ]; then fail "$1 is not what an installation can use." 65; fi
}

accept VERSION "${VERSION-}" '0-9A-Za-z.-'
accept ADVERTISE_ADDR "${ADVERTISE_ADDR-}" '0-9A-Fa-f.:'
accept POOL "${POOL-}" '0-9./'
for digest in "${DOKPLOY_DIGEST-}" "${POSTGRES_DIGEST-}" "${TRAEFIK_DIGEST-}"; do
  if [ -n "$digest" ]; then accept 'An image digest' "$digest" 'a-f0-9:sh'; fi
done

mkdir -p /etc/landfall /var/lib/landfall /var/log/landfall "${INSTALLER%/*}"
chmod 700 /etc/landfall /var/lib/landfall /var/log/landfall "${INSTALLER%/*}"
# Two operators at once: the second waits here and then finds the first one's unit.
exec 9>/var/lib/landfall/start.lock
flock -w 10 9 || fail 'Another start of the installation is still going on.' 75

case $(install_unit) in
  running)
    echo unit=running
    exit 0
    ;;
  'done')
    if panel_healthy; then
      echo unit=done
      exit 0
    fi
    ;;
  *) ;;
esac

write_installer "$INSTALLER.new"
chmod 700 "$INSTALLER.new"
mv -f "$INSTALLER.new" "$INSTALLER"
{
  printf 'VERSION=%s\nADVERTISE_ADDR=%s\nPOOL=%s\n' "$VERSION" "$ADVERTISE_ADDR" "$POOL"
  printf 'DOKPLOY_DIGEST=%s\nPOSTGRES_DIGEST=%s\nTRAEFIK_DIGEST=%s\n' \
    "${DOKPLOY_DIGEST-}" "${POSTGRES_DIGEST-}" "${TRAEFIK_DIGEST-}"
} >"$CONFIG.new"
mv -f "$CONFIG.new" "$CONFIG"

# What is left of an earlier attempt gives its name back; nothing of it runs any more.
systemctl stop "$UNIT.service" 2>/dev/null || true
systemctl reset-failed "$UNIT.service" 2>/dev/null || true
systemd-run --quiet --unit="$UNIT" --remain-after-exit --property=KillMode=mixed \
  --property=StandardOutput="append:$INSTALL_LOG" --property=StandardError="append:$INSTALL_LOG" \
  timeout --kill-after=30 2400 flock -n /var/lib/landfall/install.lock "$INSTALLER" 9>&- ||
  fail 'systemd did not start the installation.'
echo unit=started
