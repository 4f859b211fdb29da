WORK=$STATE/update-service
revision=$(cat "$WORK/revision")
branch=$(cat "$WORK/branch")
port=$(cat "$WORK/port")
health=$(cat "$WORK/health")

short() {
  printf %.12s "$1"
}

# put REVISION: in place and started
put() {
  service_git checkout --quiet --detach "$1" && systemctl restart "$SERVICE"
}

stage fetch
before=$(service_git rev-parse HEAD)
if [ -n "$(service_git status --porcelain --untracked-files=no)" ]; then
  say "Files in $SOURCE were changed on the server; look at them with git -C $SOURCE status."
  over failed
fi
if ! timeout 300 setpriv --reuid=backend --regid=backend --init-groups env HOME="$SERVICE_HOME" \
  git -C "$SOURCE" fetch --quiet origin "$branch"; then
  say "The branch $branch cannot be fetched."
  over failed
fi
if ! target=$(service_git rev-parse --quiet --verify "${revision:-FETCH_HEAD}^{commit}"); then
  say "There is no revision $revision in the branch $branch."
  over failed
fi
if [ "$target" = "$before" ] && service_healthy "$port" "$health"; then
  say "$(short "$target") runs already."
  over unchanged
fi

stage switch
say "from $(short "$before") to $(short "$target")"
if put "$target"; then
  stage health
  if await_health "$port" "$health"; then
    if [ "$target" != "$before" ]; then printf '%s\n' "$before" >"$WORK/previous"; fi
    say "$(short "$target") is healthy"
    over updated
  fi
  say "$(short "$target") did not become healthy at 127.0.0.1:$port$health; the last of its log:"
  journalctl --no-pager --output=cat --lines=10 --unit="$SERVICE" || true
fi

stage return
say "back to $(short "$before")"
put "$before" || true
if await_health "$port" "$health"; then
  say "$(short "$before") runs again"
  over returned
fi
say "$(short "$before") does not become healthy either"
over unhealthy
