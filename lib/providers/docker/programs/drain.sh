# Also a worker that never ends must not hold a deploy for ever: a stream can last for days.
tries=$((LIMIT_MS / 100))
drained=yes
while any_of "$(all_workers)" "$WORKERS"; do
  tries=$((tries - 1))
  if [ "$tries" -le 0 ]; then drained=no && break; fi
  sleep 0.1
done
printf 'drained=%s\n' "$drained"
