set -f
printf 'images='
for repository in $REPOSITORIES; do
  docker image ls -q --no-trunc "$repository"
done | sort -u | while IFS= read -r id; do
  docker image inspect --format '{"id":{{json .Id}},"tags":{{json .RepoTags}},"digests":{{json .RepoDigests}},"bytes":{{.Size}}}' "$id"
done | packed
printf '\nused='
docker ps -aq --no-trunc | while IFS= read -r id; do docker inspect --format '{{.Image}}' "$id" 2>/dev/null || true; done | sort -u | packed
printf '\n'
