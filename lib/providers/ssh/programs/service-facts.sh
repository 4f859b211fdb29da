need_nixos
health=unhealthy
if service_healthy "$(setting LANDFALL_PORT)" "$(setting LANDFALL_HEALTH)"; then health=healthy; fi
revision=
origin=
if [ -d "$SOURCE/.git" ]; then
  revision=$(service_git rev-parse HEAD 2>/dev/null || true)
  origin=$(service_git config --get remote.origin.url 2>/dev/null || true)
fi
repository=$(setting LANDFALL_REPOSITORY)
branch=$(setting LANDFALL_BRANCH)
remote=
if [ -n "$repository" ]; then
  remote=$(timeout 15 setpriv --reuid=backend --regid=backend --init-groups env HOME="$SERVICE_HOME" \
    git ls-remote -- "$repository" "refs/heads/${branch:-main}" 2>/dev/null | cut -f 1 || true)
fi
# Where a rollback leads: to where one has led already, before an update that was cut off, before the last one.
previous=$(cat "$STATE/update-service/previous" 2>/dev/null || true)
pending=$(cat "$STATE/update-service/pending" 2>/dev/null || true)
back=$(cat "$STATE/update-service/rollback" 2>/dev/null || true)
if [ -z "$back" ] && [ "$pending" != "$revision" ]; then back=$pending; fi
printf 'settings=%s\n' "$(cat "$HASH_FILE" 2>/dev/null || true)"
printf 'unit=%s\n' "$(unit_word "$SERVICE")"
printf 'health=%s\n' "$health"
printf 'caddy=%s\n' "$(unit_word caddy.service)"
printf 'revision=%s\n' "$revision"
printf 'origin=%s\n' "$origin"
printf 'previous=%s\n' "$previous"
printf 'back=%s\n' "${back:-$previous}"
printf 'remote=%s\n' "$remote"
printf 'content=%s\n' "$(sed -n 's/^content=//p' "$INSTALLED_FILE" | head -n 1)"
printf 'system=%s\n' "$(sed -n 's/^system=//p' "$INSTALLED_FILE" | head -n 1)"
