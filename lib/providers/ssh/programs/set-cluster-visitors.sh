case $VISITORS in
  come) rm -f "$LEAVING" ;;
  leave)
    leave "$BLIND_S"
    # Ends when the requests that are under way have been answered, or their time is up.
    systemctl stop caddy.service
    ;;
  *) fail 'VISITORS is not come or leave.' 65 ;;
esac
echo ok=1
