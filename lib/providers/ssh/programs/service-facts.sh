need_nixos
health=unhealthy
if service_healthy "$(setting LANDFALL_PORT)" "$(setting LANDFALL_HEALTH)"; then health=healthy; fi
revision=
if [ -d "$SOURCE/.git" ]; then revision=$(service_git rev-parse HEAD 2>/dev/null || true); fi
repository=$(setting LANDFALL_REPOSITORY)
branch=$(setting LANDFALL_BRANCH)
remote=
if [ -n "$repository" ]; then
  remote=$(timeout 15 setpriv --reuid=backend --regid=backend --init-groups env HOME="$SERVICE_HOME" \
    git ls-remote -- "$repository" "refs/heads/${branch:-main}" 2>/dev/null | cut -f 1 || true)
fi
printf 'settings=%s\n' "$(cat "$HASH_FILE" 2>/dev/null || true)"
printf 'unit=%s\n' "$(unit_word "$SERVICE")"
printf 'health=%s\n' "$health"
printf 'caddy=%s\n' "$(unit_word caddy.service)"
printf 'revision=%s\n' "$revision"
printf 'previous=%s\n' "$(cat "$STATE/update-service/previous" 2>/dev/null || true)"
printf 'remote=%s\n' "$remote"
printf 'content=%s\n' "$(sed -n 's/^content=//p' "$INSTALLED_FILE" | head -n 1)"
