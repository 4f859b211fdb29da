mkdir -p "$state_dir/releases/$RELEASE"
printf %s "$CONFIG" | replace_file "$state_dir/releases/$RELEASE/config.json"
printf %s "$MANIFEST" | replace_file "$state_dir/releases/$RELEASE/manifest.json"
