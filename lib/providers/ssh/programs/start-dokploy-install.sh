INSTALLER=/usr/local/lib/landfall/install-dokploy

accept VERSION "${VERSION-}" '0-9A-Za-z.-'
accept ADVERTISE_ADDR "${ADVERTISE_ADDR-}" '0-9A-Fa-f.:'
accept POOL "${POOL-}" '0-9./'
for digest in "${DOKPLOY_DIGEST-}" "${POSTGRES_DIGEST-}" "${TRAEFIK_DIGEST-}"; do
  if [ -n "$digest" ]; then accept 'An image digest' "$digest" 'a-f0-9:sh'; fi
done

attach_install panel_healthy
start_install /etc/landfall/dokploy-install.conf <<SETTINGS
VERSION=$VERSION
ADVERTISE_ADDR=$ADVERTISE_ADDR
POOL=$POOL
DOKPLOY_DIGEST=${DOKPLOY_DIGEST-}
POSTGRES_DIGEST=${POSTGRES_DIGEST-}
TRAEFIK_DIGEST=${TRAEFIK_DIGEST-}
SETTINGS
