found=$(inspect_ids "$IDS")
printf 'containers='
printf '%s\n' "$found" | packed
printf '\n'
