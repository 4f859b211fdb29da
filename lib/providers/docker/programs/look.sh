work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf %s "$CONFIG" >"$work/config"
printf %s "$LOOSE" >"$work/loose"
# The two slowest questions, side by side with the others.
compose -f "$work/config" config --hash '*' >"$work/hashes" &
hashing=$!
compose -f "$work/loose" config --hash '*' >"$work/loose-hashes" &
hashing="$hashing $!"
all=$(docker ps -aq --no-trunc --filter "label=com.docker.compose.project=$PROJECT" --filter label=com.docker.compose.oneoff=False)
inspect_ids "$all" >"$work/containers"
printf 'containers='
packed <"$work/containers"
printf '\nimages='
set -f
# shellcheck disable=SC2086
if [ -n "${IMAGES:-}" ]; then
  { docker image inspect --format '{"id":{{json .Id}},"tags":{{json .RepoTags}},"digests":{{json .RepoDigests}}}' $IMAGES 2>/dev/null || true; } | packed
fi
set +f
printf '\n'
nginx_id=$(ids_of "$NGINX" | head -n 1)
if [ -n "$nginx_id" ]; then
  docker inspect --format '{{range .Mounts}}{{if eq .Type "bind"}}{{println .Source}}{{end}}{{end}}' "$nginx_id" | while IFS= read -r mounted; do
    if [ ! -d "$mounted" ]; then continue; fi
    find "$mounted" -type f -name '*.conf' -size -512k 2>/dev/null | sort | head -n 500 | while IFS= read -r file; do
      printf 'nginx_file=%s %s\n' "$(encoded "$file")" "$(packed <"$file")"
    done
  done
fi
if [ -r "$state_dir/state.json" ]; then printf 'state=%s\n' "$(packed <"$state_dir/state.json")"; fi
for manifest in "$state_dir"/releases/*/manifest.json; do
  if [ -r "$manifest" ]; then printf 'manifest=%s\n' "$(packed <"$manifest")"; fi
done
all_ended "$hashing"
printf 'hashes='
packed <"$work/hashes"
printf '\nloose_hashes='
packed <"$work/loose-hashes"
printf '\n'
