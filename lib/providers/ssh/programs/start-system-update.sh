need_nixos
case ${SYSTEM-} in '' | *[!A-Za-z0-9_-]*) fail 'SYSTEM is not the name of a machine of the flake.' 65 ;; esac
case ${CONTENT-} in '' | *[!0-9a-f]*) fail 'CONTENT is not a hash.' 65 ;; esac
mkdir -p "$STATE/update-system"
exec 9>"$STATE/update-system.lock"
flock -w 10 9 || fail 'Another start of an update is still going on.' 75
if [ "$(update_unit system)" = running ]; then
  echo unit=running
  exit 0
fi
rm -rf "$STATE/update-system/source.new"
mkdir "$STATE/update-system/source.new"
printf %s "$ARCHIVE" | base64 -d | tar -xzf - -C "$STATE/update-system/source.new" || fail 'ARCHIVE cannot be unpacked.' 65
if [ ! -f "$STATE/update-system/source.new/flake.nix" ]; then fail 'ARCHIVE holds no flake.nix.' 65; fi
rm -rf "$STATE/update-system/source"
mv "$STATE/update-system/source.new" "$STATE/update-system/source"
write_runner "$STATE/update-system/run.new"
chmod 700 "$STATE/update-system/run.new"
mv -f "$STATE/update-system/run.new" "$STATE/update-system/run"
printf '%s' "$SYSTEM" >"$STATE/update-system/system"
printf '%s' "$CONTENT" >"$STATE/update-system/content"
: >"$STATE/update-system/log"
start_update system 3600 9>&-
