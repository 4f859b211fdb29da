[ -r "$state_dir/releases/$RELEASE/config.json" ] || fail 'There is no such release.' 66
find_compose
printf 'compose=%s\n' "$compose_command"
printf 'config='
packed <"$state_dir/releases/$RELEASE/config.json"
printf '\n'
