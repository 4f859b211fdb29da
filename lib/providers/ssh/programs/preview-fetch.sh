checked_number
checked_head
case $REPOSITORY in
  https://*) ;;
  file:///*) ;;
  *) fail 'REPOSITORY is not an https address.' 65 ;;
esac
case $COMPOSE_FILE in
  '' | /* | *..* | *[!a-zA-Z0-9._/-]*) fail 'COMPOSE_FILE is not a path inside the repository.' 65 ;;
esac
mkdir -p "$place"
chmod 700 "$place"
rm -rf "$place/source.new"
git init -q "$place/source.new"
# Nothing of the checkout may run anything here: no hooks, no filters, no submodules, no links that git would follow.
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 GIT_LFS_SKIP_SMUDGE=1
if [ -n "${TOKEN:-}" ]; then
  # In the environment of this one process, so that neither a command line nor a file has it.
  GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader GIT_CONFIG_VALUE_0="Authorization: Basic $(encoded "x-access-token:$TOKEN")" \
    git -C "$place/source.new" -c core.hooksPath=/dev/null fetch -q --depth 1 --no-tags --no-recurse-submodules "$REPOSITORY" "$HEAD" ||
    fail "The commit could not be fetched."
else
  git -C "$place/source.new" -c core.hooksPath=/dev/null fetch -q --depth 1 --no-tags --no-recurse-submodules "$REPOSITORY" "$HEAD" ||
    fail "The commit could not be fetched; for a private repository set PREVIEW_GIT_TOKEN."
fi
[ "$(git -C "$place/source.new" rev-parse FETCH_HEAD)" = "$HEAD" ] || fail 'Another commit was fetched than was asked for.'
git -C "$place/source.new" -c core.hooksPath=/dev/null -c core.symlinks=true checkout -q --detach FETCH_HEAD
rm -rf "$place/source" "$place/source.new/.git"
mv "$place/source.new" "$place/source"
echo "checkout=$place/source"
file=$(realpath "$place/source/$COMPOSE_FILE" 2>/dev/null) || file=
case $file in
  "$(realpath "$place/source")"/*) ;;
  *) file= ;;
esac
if [ -z "$file" ] || [ ! -f "$file" ]; then
  echo file=absent
elif [ "$(wc -c <"$file")" -gt 262144 ]; then
  echo file=large
else
  echo "file=$(base64 <"$file" | tr -d '\n')"
fi
