nginx_id=$(docker ps -q --no-trunc --filter "label=com.docker.compose.project=$PROJECT" --filter "label=com.docker.compose.service=$NGINX" --filter status=running | head -n 1)
[ -n "$nginx_id" ] || fail "The proxy $NGINX does not run." 66

# workers PATTERN: process ids of nginx's workers; those that only finish their requests say so in their title
workers() {
  docker top "$nginx_id" -eo pid,args | grep 'nginx: worker process' | grep "$@" 'shutting down' | awk '{ print $1 }' || true
}
all_workers() {
  docker top "$nginx_id" -eo pid,args | awk '/nginx: worker process/ { print $1 }'
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
