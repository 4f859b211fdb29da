mkdir -p "$state_dir/releases"
exec 9>>"$state_dir/lock"
if ! flock -w "$WAIT_S" 9; then
  printf 'holder=%s\n' "$(base64 <"$state_dir/holder" | tr -d '\n')"
  exit 75
fi
# What a run that is gone had begun on this host ends before anything else is looked at.
exec 8>>"$state_dir/action"
flock -w 300 8 || fail 'An action of an earlier run does not end.' 75
exec 8>&-
printf '%s %s\n' "$RUN" "$WHO" >"$state_dir/holder.new"
mv -f "$state_dir/holder.new" "$state_dir/holder"
# The lock is this process's; it ends when nobody reads what it says any more.
while [ "$(head -n 1 "$state_dir/holder" | cut -d ' ' -f 1)" = "$RUN" ] && printf .; do
  sleep 1 9>&-
done
