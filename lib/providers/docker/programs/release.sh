read -r holder_run _ <"$state_dir/holder" || exit 0
if [ "$holder_run" = "$RUN" ]; then
  printf 'nobody\n' >"$state_dir/holder.new"
  mv -f "$state_dir/holder.new" "$state_dir/holder"
fi
