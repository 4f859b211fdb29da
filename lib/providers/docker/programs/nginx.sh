nginx_id=$(docker ps -q --no-trunc --filter "label=com.docker.compose.project=$PROJECT" --filter "label=com.docker.compose.service=$NGINX" --filter status=running | head -n 1)
[ -n "$nginx_id" ] || fail "The proxy $NGINX does not run." 66

# titles: nginx's workers, as `<pid> <title>`
titles() {
  docker top "$nginx_id" -eo pid,args | grep 'nginx: worker process' || true
}
all_workers() {
  titles | awk '{ print $1 }'
}
# serving_in TITLES: process ids of those that do not only finish their requests, which they say in their title
serving_in() {
  printf '%s\n' "$1" | awk '!/shutting down/ { print $1 }'
}
# any_of LIST IDS: whether one of the ids is in the list
any_of() {
  for each in $2; do
    for other in $1; do
      if [ "$each" = "$other" ]; then return 0; fi
    done
  done
  return 1
}
