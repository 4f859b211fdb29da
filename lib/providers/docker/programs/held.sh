tries=0
until [ "$(cut -d ' ' -f 1 "$state_dir/holder" 2>/dev/null)" = "$RUN" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt "$TRIES" ]; then fail 'Not held yet.' 75; fi
  sleep 0.05
done
echo held=1
