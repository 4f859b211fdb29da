mkdir -p "$PREVIEWS/edge"
chmod 700 "$PREVIEWS/edge"
put() {
  printf '%s' "$2" >"$PREVIEWS/edge/$1.new"
  mv -f "$PREVIEWS/edge/$1.new" "$PREVIEWS/edge/$1"
}
if [ -n "${KEY:-}" ]; then
  put key.pem "$KEY"
  put certificate.pem "$CERTIFICATE"
fi
[ -n "${CADDYFILE:-}" ] || { echo ok=1; exit 0; }
[ -s "$PREVIEWS/edge/certificate.pem" ] || fail 'There is no certificate yet.'
put Caddyfile "$CADDYFILE"
[ "$(docker container inspect --format '{{.State.Running}}' "$EDGE" 2>/dev/null)" = true ] || {
  docker rm -f "$EDGE" >/dev/null 2>&1 || true
  # On a network of its own from the start: on Docker's default one it would begin with the host's resolver, and keep it for a while.
  docker network inspect "$EDGE" >/dev/null 2>&1 || docker network create "$EDGE" >/dev/null
  docker run -d --name "$EDGE" --network "$EDGE" --restart unless-stopped -p 80:80 -p 443:443 -v "$PREVIEWS/edge:/etc/caddy:ro" --memory 256m --cap-drop ALL --cap-add NET_BIND_SERVICE \
    --security-opt no-new-privileges:true "$IMAGE" caddy run --config /etc/caddy/Caddyfile --adapter caddyfile >/dev/null || fail 'The edge could not be started.'
}
for network in $(docker network ls --filter label=com.docker.compose.project --format '{{.Name}}' | grep -E '^pr-[1-9][0-9]*_default$' || true); do
  docker network connect "$network" "$EDGE" >/dev/null 2>&1 || true
done
tries=0
until docker exec "$EDGE" caddy reload --force --config /etc/caddy/Caddyfile --adapter caddyfile >/dev/null 2>"$PREVIEWS/edge/reload.log"; do
  tries=$((tries + 1))
  [ "$tries" -lt 20 ] || fail "The edge did not take its file: $(tail -n 1 "$PREVIEWS/edge/reload.log")"
  sleep 0.5
done
put loaded "$(edge_files)"
echo ok=1
