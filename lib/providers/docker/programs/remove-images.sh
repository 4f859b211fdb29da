for id in $IDS; do
  tags=$(docker image inspect --format '{{range .RepoTags}}{{println .}}{{end}}{{range .RepoDigests}}{{println .}}{{end}}' "$id" 2>/dev/null) || continue
  # Every name of it goes first: an image with several is not removed by its id without force.
  # shellcheck disable=SC2086
  if docker image rm $tags >/dev/null 2>&1 || docker image rm "$id" >/dev/null 2>&1; then printf 'removed=%s\n' "$id"; fi
done
