case $PART in consul | nomad | caddy | docker) ;; *) fail 'PART is not consul, nomad, caddy or docker.' 65 ;; esac
journalctl -u "$PART" -n "$LINES" -o short-iso --no-pager
