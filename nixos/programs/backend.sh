# shellcheck shell=sh
# Clones the application where it is not there yet. Bringing it up to date is an action of its own, with a check and a way back.
set -eu
source=$HOME/source
if [ -d "$source/.git" ]; then exit 0; fi
if [ -z "${LANDFALL_REPOSITORY-}" ]; then
  printf '%s\n' 'LANDFALL_REPOSITORY is not set in /var/lib/landfall/backend.env.' >&2
  exit 1
fi
# A clone that was cut short is not taken for one that is whole.
rm -rf "$source.new"
git clone --branch "${LANDFALL_BRANCH:-main}" -- "$LANDFALL_REPOSITORY" "$source.new"
mv "$source.new" "$source"
