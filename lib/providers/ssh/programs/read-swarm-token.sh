token=$(timeout 15 docker swarm join-token -q worker 2>/dev/null) || fail 'The swarm gives no token for workers.'
printf 'TOKEN %s\n' "$(encoded "$token")"
