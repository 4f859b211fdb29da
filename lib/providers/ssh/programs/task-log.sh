# A service's log mixes its tasks, and the panel shows that of one that runs; a task's own is also there when it failed, or ran on another node.
case $TASK in '' | *[!a-z0-9]*) fail 'TASK is not the id of a task.' 65 ;; esac
case $LINES in '' | *[!0-9]*) fail 'LINES is not a number.' 65 ;; esac
# A task that never had a container would be waited for.
timeout 10 docker service logs --raw --tail "$LINES" "$TASK" 2>&1 || true
