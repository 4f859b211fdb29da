# Docker tells of each change as it comes; the beat is for one that was missed. Both end when nobody reads what they write.
work=$(mktemp -d)
mkfifo "$work/changes"
exec 3<>"$work/changes"
exec 4>"$work/changes"
rm -rf "$work"
deadline=$(($(date +%s) + LIMIT_S))
set -- --until "$deadline" --filter event=start --filter event=health_status --filter event=die
for id in $IDS; do set -- "$@" --filter "container=$id"; done
docker events "$@" --format change >&4 2>/dev/null </dev/null 3<&- 4>&- &
telling=$!
while sleep 1; do echo beat; done >&4 2>/dev/null </dev/null 3<&- 4>&- &
beating=$!
exec 4>&-
trap 'kill "$telling" "$beating" 2>/dev/null || true' EXIT

# awaited STATES: whether one is still starting, and none has failed
awaited() {
  waiting=no
  for id in $IDS; do
    case $(state_of "$id" "$1") in
      healthy) ;;
      starting) waiting=yes ;;
      *) return 1 ;;
    esac
  done
  [ "$waiting" = yes ]
}

seen=$(states)
while awaited "$seen" && [ "$(date +%s)" -lt "$deadline" ]; do
  read -r _ <&3
  seen=$(states)
done
report_health "$seen"
