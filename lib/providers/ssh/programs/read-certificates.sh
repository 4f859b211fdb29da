ACME=/etc/dokploy/traefik/dynamic/acme.json
if [ ! -s "$ACME" ]; then exit 4; fi
printf 'acme %s\n' "$(base64 <"$ACME" | tr -d '\n')"
