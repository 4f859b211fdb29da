set -f
set -- --no-build --pull never
if [ "$RECREATE" != yes ]; then set -- "$@" --no-recreate; fi
if [ "$ALONE" = yes ]; then set -- "$@" --no-deps; fi
if [ "$ENDS" = yes ]; then
  # Compose takes the end of one that it is asked for alone for a failure.
  # shellcheck disable=SC2046
  compose -f "$state_dir/releases/$RELEASE/config.json" up -d "$@" $(scales "$OTHERS" "$(listing)") "$SERVICE" >&2 || fail "$SERVICE could not be started."
  for id in $(ids_of "$SERVICE"); do
    code=$(timeout "$LIMIT_S" docker wait "$id") || fail "$SERVICE has not ended within $LIMIT_S s; it goes on."
    [ "$code" = 0 ] || fail "$SERVICE ended with exit code $code: $(docker logs --tail 15 "$id" 2>&1)"
  done
  exit 0
fi
# shellcheck disable=SC2046
compose -f "$state_dir/releases/$RELEASE/config.json" up -d --wait --wait-timeout "$LIMIT_S" "$@" $(scales "$OTHERS" "$(listing)") "$SERVICE" >&2 ||
  fail "$SERVICE did not become healthy: $(docker logs --tail 15 "$(ids_of "$SERVICE" | head -n 1)" 2>&1)"
