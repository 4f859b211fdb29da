# Proves that a backup can be read, and restored where it is a database's dump: into a container that nobody reaches, gone afterwards.
# rclone is the one inside Dokploy's container; keys go there through its environment, never on a command line.
case $KIND in
  postgres | mysql | mariadb | mongo | volume | panel) ;;
  *) fail 'KIND is not a kind of backup.' 65 ;;
esac
case $BYTES in
  '' | *[!0-9]*) fail 'BYTES is not a number.' 65 ;;
esac
dokploy=$(docker ps -q --filter label=com.docker.swarm.service.name=dokploy --filter status=running | head -n 1)
if [ -z "$dokploy" ]; then
  dokploy=$(docker ps -q --filter label=com.docker.swarm.service.name=dokploy_dokploy --filter status=running | head -n 1)
fi
if [ -z "$dokploy" ]; then fail "Dokploy's container does not run here."; fi
# What a drill left that had no time to end: its number is its process's.
for left in $(docker ps -a --filter name=^landfall-drill- --format '{{.Names}}') /var/tmp/landfall-drill-*; do
  number=${left##*landfall-drill-}
  if kill -0 "${number%%.*}" 2>/dev/null; then continue; fi
  case $left in
    /*) rm -rf "$left" ;;
    *) docker rm -f -v "$left" >/dev/null ;;
  esac
done
work=$(mktemp -d "/var/tmp/landfall-drill-$$.XXXXXX")
name=landfall-drill-$$
trap 'docker rm -f -v "$name" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
# A shell that a signal ends runs no trap of EXIT, and whoever started the drill may be gone when it next speaks.
trap 'exit 143' HUP INT TERM PIPE
RCLONE_CONFIG_DRILL_TYPE=s3
RCLONE_CONFIG_DRILL_PROVIDER=$PROVIDER
RCLONE_CONFIG_DRILL_ENDPOINT=$ENDPOINT
RCLONE_CONFIG_DRILL_REGION=$REGION
RCLONE_CONFIG_DRILL_ACCESS_KEY_ID=$ACCESS_KEY
RCLONE_CONFIG_DRILL_SECRET_ACCESS_KEY=$SECRET_KEY
RCLONE_CONFIG_DRILL_FORCE_PATH_STYLE=true
RCLONE_CONFIG_DRILL_NO_CHECK_BUCKET=true
export RCLONE_CONFIG_DRILL_TYPE RCLONE_CONFIG_DRILL_PROVIDER RCLONE_CONFIG_DRILL_ENDPOINT RCLONE_CONFIG_DRILL_REGION \
  RCLONE_CONFIG_DRILL_ACCESS_KEY_ID RCLONE_CONFIG_DRILL_SECRET_ACCESS_KEY RCLONE_CONFIG_DRILL_FORCE_PATH_STYLE \
  RCLONE_CONFIG_DRILL_NO_CHECK_BUCKET
free_kb=$(df -Pk "$work" | awk 'NR == 2 { print $4 }')
if [ "$free_kb" -lt $((BYTES * 8 / 1024 + 1048576)) ]; then fail "Only $((free_kb / 1024)) MB are free: a drill needs eight times the backup and 1 GB."; fi
docker exec -e RCLONE_CONFIG_DRILL_TYPE -e RCLONE_CONFIG_DRILL_PROVIDER -e RCLONE_CONFIG_DRILL_ENDPOINT -e RCLONE_CONFIG_DRILL_REGION \
  -e RCLONE_CONFIG_DRILL_ACCESS_KEY_ID -e RCLONE_CONFIG_DRILL_SECRET_ACCESS_KEY -e RCLONE_CONFIG_DRILL_FORCE_PATH_STYLE \
  -e RCLONE_CONFIG_DRILL_NO_CHECK_BUCKET "$dokploy" rclone cat "drill:$BUCKET/$KEY" </dev/null >"$work/backup" ||
  fail 'The backup cannot be read out of the bucket.'
size=$(wc -c <"$work/backup")
if [ "$size" -eq 0 ]; then fail 'The backup is empty.'; fi
echo "bytes=$size"

throwaway() {
  # No network and no volume of anybody's: what is restored can harm nobody and is reached by nobody.
  docker run -d --name "$name" --network none --memory 1g "$@" >/dev/null </dev/null
}
ready() {
  tries=0
  until docker exec "$name" sh -c "$1" >/dev/null 2>&1 </dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then fail 'The throw-away database did not start within two minutes.'; fi
    sleep 2
  done
}
case $KIND in
  postgres)
    gzip -t "$work/backup" || fail 'The backup is damaged: its compression does not end well.'
    throwaway -e POSTGRES_PASSWORD=drill "$IMAGE"
    ready 'pg_isready -h 127.0.0.1 -U postgres'
    docker exec "$name" createdb -U postgres drill </dev/null
    gzip -dc "$work/backup" | docker exec -i "$name" pg_restore -U postgres -d drill --no-owner --no-acl --exit-on-error ||
      fail 'The dump does not restore.'
    tables=$(docker exec "$name" psql -U postgres -d drill -Atc "select count(*) from pg_stat_user_tables" </dev/null)
    ;;
  mysql | mariadb)
    gzip -t "$work/backup" || fail 'The backup is damaged: its compression does not end well.'
    # One that was cut off, because its database went away meanwhile, is compressed well and restores as far as it goes.
    if gzip -dc "$work/backup" | head -n 5 | grep -q '^-- M[A-Za-z]* dump '; then
      gzip -dc "$work/backup" | tail -n 5 | grep -q '^-- Dump completed' || fail 'The backup is damaged: its dump has no end.'
    fi
    client=mysql
    if [ "$KIND" = mariadb ]; then client=mariadb; fi
    throwaway -e MYSQL_ROOT_PASSWORD=drill -e MARIADB_ROOT_PASSWORD=drill -e MYSQL_DATABASE=drill -e MARIADB_DATABASE=drill "$IMAGE"
    ready "$client -h 127.0.0.1 -uroot -pdrill -e 'select 1'"
    gzip -dc "$work/backup" | docker exec -i "$name" "$client" -uroot -pdrill drill || fail 'The dump does not restore.'
    tables=$(docker exec "$name" "$client" -uroot -pdrill -N -e \
      "select count(*) from information_schema.tables where table_schema not in ('mysql','sys','performance_schema','information_schema')" </dev/null)
    ;;
  mongo)
    throwaway "$IMAGE"
    ready "mongosh --quiet --eval 'db.runCommand({ping:1})'"
    docker exec -i "$name" mongorestore --archive --gzip --stopOnError <"$work/backup" >/dev/null 2>&1 || fail 'The dump does not restore.'
    tables=$(docker exec "$name" mongosh --quiet --eval \
      'db.getMongo().getDBNames().filter(n => !["admin","local","config"].includes(n)).map(n => db.getSiblingDB(n).getCollectionNames().length).reduce((a, b) => a + b, 0)' </dev/null)
    ;;
  volume)
    tar -tf "$work/backup" >"$work/list" || fail 'The archive is damaged.'
    # An archive that was cut off between two files lists well; a whole one ends in two blocks of zeros.
    if [ "$(tail -c 1024 "$work/backup" | tr -d '\0' | wc -c)" -ne 0 ]; then fail 'The archive is damaged: it has no end.'; fi
    # The volume itself is no file of it: Docker makes an empty one where there is none of this name.
    tables=$(grep -cvx '\./' "$work/list") || true
    ;;
  panel)
    docker exec -i "$dokploy" sh -c 'f=$(mktemp) && cat >"$f" && unzip -tqq "$f" && unzip -l "$f"; code=$?; rm -f "$f"; exit $code' \
      <"$work/backup" >"$work/list" || fail 'The archive is damaged.'
    grep -q 'database.sql' "$work/list" || fail "The archive holds no dump of Dokploy's database."
    if grep -q 'encryption' "$work/list"; then echo key=present; else echo key=absent; fi
    tables=$(wc -l <"$work/list")
    ;;
esac
if [ "${tables:-0}" -eq 0 ]; then fail 'What came back is empty.'; fi
echo "items=$tables"
echo ok=1
