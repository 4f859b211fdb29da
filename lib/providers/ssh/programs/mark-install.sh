# Written down in memory: it belongs to the installer that runs now, and a reboot ends both.
case $PHASE in
  disko | install) ;;
  *) fail 'PHASE is disko or install.' 65 ;;
esac
if ! grep -Eq '^VARIANT_ID="?installer"?$' /etc/os-release; then fail 'This is not the installer of NixOS.' 3; fi
mkdir -p /run/landfall
printf '%s\n' "$PHASE" >/run/landfall/install-phase.new
mv -f /run/landfall/install-phase.new /run/landfall/install-phase
echo ok=1
