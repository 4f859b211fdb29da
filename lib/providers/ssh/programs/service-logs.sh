need_nixos
case ${LINES-} in '' | *[!0-9]*) fail 'LINES is not a number.' 65 ;; esac
journal() {
  journalctl --no-pager --quiet --show-cursor --output=short-iso --unit="$SERVICE" "$@"
}
if [ -n "${CURSOR-}" ]; then
  journal --after-cursor="$CURSOR" --lines=+2000
else
  journal --lines="$LINES"
fi | awk '
  /^-- cursor: / { cursor = substr($0, 12); next }
  { print "text " $0 }
  END { print "cursor=" cursor }
' | while IFS= read -r log_line; do
  case $log_line in
    cursor=*) printf '%s\n' "$log_line" ;;
    *) printf 'log %s\n' "$(encoded "${log_line#text }")" ;;
  esac
done
