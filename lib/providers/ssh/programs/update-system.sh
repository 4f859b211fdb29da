WORK=$STATE/update-system
PROFILE=$ROOT/nix/var/nix/profiles/system
system=$(cat "$WORK/system")
content=$(cat "$WORK/content")
port=$(setting LANDFALL_PORT)
health=$(setting LANDFALL_HEALTH)

stage switch
# What an update that was cut off has left is not what to go back to, nor is its service what to judge by.
if [ -s "$WORK/pending" ]; then
  read -r was_healthy before <"$WORK/pending"
else
  before=$(readlink -f "$PROFILE")
  # A service that was not healthy before cannot be what tells a good system from a bad one.
  was_healthy=no
  if [ -n "$port" ] && service_healthy "$port" "$health"; then was_healthy=yes; fi
  keep pending "$was_healthy $before"
fi
say "building and switching to $system"
switched=no
if nixos-rebuild switch --flake "path:$WORK/source#$system"; then switched=yes; fi
after=$(readlink -f "$PROFILE")

stage health
if [ "$switched" = yes ]; then
  problem=
  if [ "$(unit_word sshd.service)" != active ]; then problem='sshd does not run'; fi
  if [ -z "$problem" ] && [ "$was_healthy" = yes ] && ! await_health "$port" "$health"; then problem='the service is not healthy any more'; fi
  if [ -z "$problem" ]; then
    { grep -v -e '^content=' -e '^system=' "$INSTALLED_FILE" || true; printf 'content=%s\nsystem=%s\n' "$content" "$system"; } >"$INSTALLED_FILE.new"
    mv -f "$INSTALLED_FILE.new" "$INSTALLED_FILE"
    if [ "$before" = "$after" ]; then over unchanged; fi
    over updated
  fi
  say "with the new system $problem"
elif [ "$before" = "$after" ]; then
  say 'The system could not be built; nothing was changed.'
  rm -f "$WORK/pending"
  over failed
fi

stage return
say 'back to the system before'
nix-env --profile "$PROFILE" --set "$before" && "$before/bin/switch-to-configuration" switch || over unhealthy
over returned
