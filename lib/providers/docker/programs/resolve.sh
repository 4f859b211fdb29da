# with_variables COMMAND: with the variables that the Compose file asks for and the caller has. A shell of its own sets them, so
# that they may be called like one of ours.
with_variables() {
  LANDFALL_VARIABLES=${VARIABLES:-} sh -c 'while read -r name value64; do
    if [ -z "$name" ]; then continue; fi
    value=$(printf %s "$value64" | base64 -d && printf .)
    export "$name=${value%.}"
  done <<EOF
$LANDFALL_VARIABLES
EOF
  unset LANDFALL_VARIABLES
  exec "$@"' sh "$@" </dev/null
}
set --
if [ -n "${ENVFILE:-}" ]; then set -- --env-file "$ENVFILE"; fi
cd "$DIRECTORY" 2>/dev/null || fail "The folder $DIRECTORY is not there." 66
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
said=$work/said
number=0
while IFS= read -r text64; do
  if [ -z "$text64" ]; then continue; fi
  number=$((number + 1))
  printf %s "$text64" | base64 -d >"$work/compose-$number.yml"
  set -- "$@" -f "$work/compose-$number.yml"
done <<EOF
${TEXTS:-}
EOF
while IFS= read -r file; do
  if [ -z "$file" ]; then continue; fi
  [ -r "$file" ] || fail "The Compose file $file is not in $DIRECTORY, or cannot be read." 66
  set -- "$@" -f "$file"
done <<EOF
${FILES:-}
EOF
find_compose
set -- -p "$PROJECT" --project-directory "$DIRECTORY" "$@"
if [ "$compose_command" = 'docker compose' ]; then set -- docker compose "$@"; else set -- "$compose_command" "$@"; fi
resolved=$(with_variables "$@" config --format json 2>"$said") || fail "$(cat "$said")" 65
printf 'compose=%s\n' "$compose_command"
printf 'config='
printf %s "$resolved" | packed
printf '\nwarnings='
packed <"$said"
printf '\n'
