unit=$(install_unit)
# A server that shuts down stops its units; none of them has ended by itself.
if [ "$(systemctl is-system-running 2>/dev/null)" = stopping ]; then unit=stopping; fi
printf 'unit=%s\n' "$unit"
printf 'stage=%s\n' "$(install_stage)"
if [ "$unit" = failed ] && [ -f "$INSTALL_LOG" ]; then
  tail -n 20 "$INSTALL_LOG" | while IFS= read -r log_line; do printf 'log %s\n' "$(encoded "$log_line")"; done
fi
