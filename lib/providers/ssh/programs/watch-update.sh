case ${KIND-} in
  service | system) ;;
  *) fail 'KIND is service or system.' 65 ;;
esac
unit=$(update_unit "$KIND")
printf 'unit=%s\n' "$unit"
printf 'stage=%s\n' "$(cat "$STATE/update-$KIND/stage" 2>/dev/null || echo none)"
printf 'result=%s\n' "$(cat "$STATE/update-$KIND/result" 2>/dev/null || echo none)"
tail -n 20 "$STATE/update-$KIND/log" 2>/dev/null | while IFS= read -r log_line; do printf 'log %s\n' "$(encoded "$log_line")"; done
