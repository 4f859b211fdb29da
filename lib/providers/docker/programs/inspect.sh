printf 'containers='
inspect_ids "$IDS" | packed
printf '\n'
