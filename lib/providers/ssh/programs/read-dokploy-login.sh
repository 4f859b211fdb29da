LOGIN_FILE=/etc/landfall/dokploy-login
if [ ! -s "$LOGIN_FILE" ]; then exit 4; fi
cat "$LOGIN_FILE"
