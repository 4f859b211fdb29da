printf %s "$TEXT" | replace_file "$state_dir/state.json"
if [ -n "${KEEP:-}" ]; then
  for folder in "$state_dir"/releases/*/; do
    release=$(basename "$folder")
    case $KEEP in
      *" $release "*) ;;
      *) rm -rf "$state_dir/releases/$release" ;;
    esac
  done
fi
