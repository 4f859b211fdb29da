set -f
set -- --no-build --pull never
if [ "$RECREATE" != yes ]; then set -- "$@" --no-recreate; fi
if [ "$ALONE" = yes ]; then set -- "$@" --no-deps; fi
# shellcheck disable=SC2046
compose -f "$state_dir/releases/$RELEASE/config.json" up -d --wait --wait-timeout "$LIMIT_S" "$@" $(scales "$OTHERS" "$(listing)") "$SERVICE" >&2 ||
  fail "$SERVICE did not become healthy: $(docker logs --tail 15 "$(ids_of "$SERVICE" | head -n 1)" 2>&1)"
