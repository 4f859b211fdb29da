# shellcheck disable=SC2086
docker start $IDS >/dev/null
