WORK=$STATE/update-service
revision=$(cat "$WORK/revision")
branch=$(cat "$WORK/branch")
port=$(cat "$WORK/port")
health=$(cat "$WORK/health")
back=$(cat "$WORK/back")

short() {
  printf %.12s "$1"
}

known() {
  service_git rev-parse --quiet --verify "$1^{commit}"
}

# put REVISION: in place and started
put() {
  service_git checkout --quiet --detach "$1" && systemctl restart "$SERVICE"
}

# A repository that the settings name anew is the clone's own only when its code is in force.
repository=$(setting LANDFALL_REPOSITORY)
fetched=no
adopt() {
  if [ "$fetched" = yes ] && [ -n "$repository" ]; then service_git remote set-url origin "$repository"; fi
}

# in_force REVISION BEFORE: what a rollback leads to from now on
in_force() {
  if [ "$1" != "$2" ]; then keep previous "$2"; fi
  if [ "$(cat "$WORK/rollback" 2>/dev/null || true)" != "$1" ]; then rm -f "$WORK/rollback"; fi
}

stage fetch
before=$(service_git rev-parse HEAD)
# What an update that was cut off has left counts as in force only when it is healthy.
if [ -s "$WORK/pending" ]; then
  pending=$(cat "$WORK/pending")
  if service_healthy "$port" "$health"; then
    in_force "$before" "$pending"
    rm -f "$WORK/pending"
  else
    before=$pending
  fi
fi
if [ -n "$(service_git status --porcelain --untracked-files=no)" ]; then
  say "Files in $SOURCE were changed on the server; look at them with git -C $SOURCE status."
  over failed
fi
# A way back must not need the repository to be reachable.
if [ -z "$revision" ] || ! target=$(known "$revision"); then
  if ! timeout 300 setpriv --reuid=backend --regid=backend --init-groups env HOME="$SERVICE_HOME" \
    git -C "$SOURCE" fetch --quiet -- "${repository:-origin}" "$branch"; then
    say "The branch $branch cannot be fetched."
    over failed
  fi
  fetched=yes
  if ! target=$(known "${revision:-FETCH_HEAD}"); then
    say "There is no revision $revision in the branch $branch."
    over failed
  fi
fi
if [ "$back" = yes ]; then keep rollback "$target"; fi
if [ "$target" = "$(service_git rev-parse HEAD)" ] && [ "$target" = "$before" ] && service_healthy "$port" "$health"; then
  adopt
  say "$(short "$target") runs already."
  over unchanged
fi

stage switch
say "from $(short "$before") to $(short "$target")"
keep pending "$before"
if put "$target"; then
  stage health
  if await_health "$port" "$health"; then
    in_force "$target" "$before"
    adopt
    say "$(short "$target") is healthy"
    over updated
  fi
  say "$(short "$target") did not become healthy at 127.0.0.1:$port$health; the last of its log:"
  journalctl --no-pager --output=cat --lines=10 --unit="$SERVICE" || true
fi

stage return
say "back to $(short "$before")"
put "$before" || true
# Nothing was taken back.
if [ "$back" = yes ] && [ "$target" != "$before" ]; then rm -f "$WORK/rollback"; fi
if await_health "$port" "$health"; then
  say "$(short "$before") runs again"
  over returned
fi
say "$(short "$before") does not become healthy either"
over unhealthy
