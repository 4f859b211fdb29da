set -f
for service in $SERVICES; do
  set -- --no-build --no-deps --pull never
  if [ "$RECREATE" != yes ]; then set -- "$@" --no-recreate; fi
  compose -f "$state_dir/releases/$RELEASE/config.json" up -d --wait --wait-timeout "$LIMIT_S" "$@" "$service" >&2 ||
    fail "$service did not become healthy: $(docker logs --tail 15 "$(ids_of "$service" | head -n 1)" 2>&1)"
done
