unit=$(install_unit)
printf 'unit=%s\n' "$unit"
printf 'stage=%s\n' "$(install_stage)"
if [ "$unit" = failed ] && [ -f "$INSTALL_LOG" ]; then
  tail -n 20 "$INSTALL_LOG" | while IFS= read -r log_line; do printf 'log %s\n' "$(encoded "$log_line")"; done
fi
