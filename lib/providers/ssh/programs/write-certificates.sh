# Traefik reads the file at its start, and refuses one that others may read.
FILE=/etc/dokploy/traefik/dynamic/acme.json
mkdir -p "${FILE%/*}"
printf %s "$ACME" >"$FILE.new"
chmod 600 "$FILE.new"
mv -f "$FILE.new" "$FILE"
docker restart dokploy-traefik >/dev/null || fail 'Traefik could not be started again.'
echo ok=1
