# write_state: TEXT becomes the state in one step; recorded releases that KEEP does not name are forgotten
write_state() {
  if [ -z "${TEXT:-}" ]; then return 0; fi
  printf %s "$TEXT" | replace_file "$state_dir/state.json"
  if [ -z "${KEEP:-}" ]; then return 0; fi
  for folder in "$state_dir"/releases/*/; do
    release=$(basename "$folder")
    case $KEEP in
      *" $release "*) ;;
      *) rm -rf "$state_dir/releases/$release" ;;
    esac
  done
}

# write_release: keeps RELEASE; it is not yet what runs
write_release() {
  mkdir -p "$state_dir/releases/$RELEASE"
  printf %s "$CONFIG" | replace_file "$state_dir/releases/$RELEASE/config.json"
  printf %s "$MANIFEST" | replace_file "$state_dir/releases/$RELEASE/manifest.json"
}

