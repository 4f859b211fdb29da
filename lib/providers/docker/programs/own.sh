# A change is made only by the run that holds the stack, and never beside another change: what a killed run had begun ends first.
exec 8>>"$state_dir/action"
# shellcheck disable=SC2086
flock ${beside:-} -w 300 8 || fail 'Another action on this stack does not end.' 75
read -r holder_run _ <"$state_dir/holder" || fail 'Nobody holds this stack.' 76
[ "$holder_run" = "$RUN" ] || fail 'Another run has taken this stack over.' 76

# replace_file PATH: its new content is on stdin; readers find the old or the new one. Mode and owner stay.
replace_file() {
  replaced=${1%/*}/.landfall-$$.new
  if [ -e "$1" ]; then cp -p "$1" "$replaced"; fi
  cat >"$replaced"
  sync "$replaced" 2>/dev/null || sync
  mv -f "$replaced" "$1"
}
