# The variables that the Compose file asks for and the caller has; no program here is named by one.
while read -r name value64; do
  if [ -z "$name" ]; then continue; fi
  value=$(printf %s "$value64" | base64 -d && printf .)
  export "$name=${value%.}"
done <<EOF
${VARIABLES:-}
EOF
set --
if [ -n "${ENVFILE:-}" ]; then set -- --env-file "$ENVFILE"; fi
cd "$DIRECTORY" 2>/dev/null || fail "The folder $DIRECTORY is not there." 66
while IFS= read -r file; do
  [ -r "$file" ] || fail "The Compose file $file is not in $DIRECTORY, or cannot be read." 66
  set -- "$@" -f "$file"
done <<EOF
$FILES
EOF
said=$(mktemp)
trap 'rm -f "$said"' EXIT
resolved=$(compose "$@" config --format json 2>"$said") || fail "$(cat "$said")" 65
printf 'compose=%s\n' "$compose_form"
printf 'config='
printf %s "$resolved" | packed
printf '\nwarnings='
packed <"$said"
printf '\n'
