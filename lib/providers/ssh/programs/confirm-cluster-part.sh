case $PART in
  consul | nomad | caddy) rm -f "$UNTAKEN-$PART" ;;
  *) fail 'PART is not consul, nomad or caddy.' 65 ;;
esac
echo ok=1
