work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The slowest questions, side by side with the others.
asking=
if [ -n "${CONFIG:-}" ]; then
  find_compose
  printf %s "$CONFIG" >"$work/config"
  printf %s "$LOOSE" >"$work/loose"
  compose -f "$work/config" config --hash '*' >"$work/hashes" &
  asking=$!
  compose -f "$work/loose" config --hash '*' >"$work/loose-hashes" &
  asking="$asking $!"
fi
set -f
# shellcheck disable=SC2086
if [ -n "${IMAGES:-}" ]; then
  { docker image inspect --format '{"id":{{json .Id}},"tags":{{json .RepoTags}},"digests":{{json .RepoDigests}}}' $IMAGES 2>/dev/null || true; } >"$work/images" &
  asking="$asking $!"
fi
set +f
all=$(docker ps -aq --no-trunc --filter "label=com.docker.compose.project=$PROJECT" --filter label=com.docker.compose.oneoff=False)
# shellcheck disable=SC2016
mounts='{{$service := index .Config.Labels "com.docker.compose.service"}}{{range .Mounts}}{{if eq .Type "bind"}}
{{$service}} {{.Source}}{{end}}{{end}}'
inspect_ids "$all" "$INSPECT$mounts" >"$work/inspected"
printf 'containers='
grep '^{' "$work/inspected" | packed
printf '\n'
{
  awk -v proxy="$NGINX " 'index($0, proxy) == 1 { print substr($0, length(proxy) + 1) }' "$work/inspected" | sort -u | while IFS= read -r mounted; do
    if [ -d "$mounted" ]; then find "$mounted" -type f -name '*.conf' -size -512k 2>/dev/null | sort | head -n 500; fi
  done
  for path64 in ${PATHS:-}; do
    path=$(printf %s "$path64" | base64 -d)
    if [ -f "$path" ]; then printf '%s\n' "$path"; fi
  done
} | sort -u | while IFS= read -r file; do
  printf 'nginx_file=%s %s\n' "$(encoded "$file")" "$(packed <"$file")"
done
if [ -r "$state_dir/state.json" ]; then printf 'state=%s\n' "$(packed <"$state_dir/state.json")"; fi
for manifest in "$state_dir"/releases/*/manifest.json; do
  if [ -r "$manifest" ]; then printf 'manifest=%s\n' "$(packed <"$manifest")"; fi
done
all_ended "$asking"
for answer in images hashes loose-hashes; do
  if [ -e "$work/$answer" ]; then printf '%s=%s\n' "$(printf %s "$answer" | tr - _)" "$(packed <"$work/$answer")"; fi
done
