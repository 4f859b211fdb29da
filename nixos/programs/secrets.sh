# shellcheck shell=sh
# Makes the secrets that are missing. A secret is never made anew beside the data that it belongs to. ROOT is for tests.
set -eu
umask 077
root=${ROOT-}
directory=$root/var/lib/landfall/secrets
database=$root/var/lib/docker/volumes/dokploy-postgres/_data
mkdir -p "$directory"
chmod 700 "$directory"

for name in $SECRETS; do
  file=$directory/$name
  if [ -s "$file" ]; then continue; fi
  if [ -d "$database" ] && [ -n "$(ls -A "$database")" ]; then
    printf '%s\n' "$file is lost, but Dokploy's database holds data that needs it. Put it back from a backup." >&2
    exit 1
  fi
  # /dev/random, unlike urandom, waits until the generator is seeded: machines of one image must not draw the same bytes.
  od -An -tx1 -N32 /dev/random | tr -d ' \n' >"$file.new"
  sync "$file.new" 2>/dev/null || sync
  mv -f "$file.new" "$file"
done
