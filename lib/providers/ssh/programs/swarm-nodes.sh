case $(swarm_state) in
  'active true') ;;
  *) fail 'It manages no swarm.' 4 ;;
esac
printf 'address=%s\n' "$(docker info --format '{{.Swarm.NodeAddr}}')"
for id in $(timeout 15 docker node ls -q); do
  # One that another run removes meanwhile is not there any more.
  node=$(timeout 15 docker node inspect --format \
    '{{.ID}} {{.Description.Hostname}} {{.Status.State}} {{.Spec.Availability}} {{.Spec.Role}} {{if index .Spec.Labels "landfall.leaving"}}leaving{{else}}staying{{end}}' \
    "$id" 2>/dev/null) || continue
  tasks=$(timeout 15 docker node ps --format '{{.CurrentState}}' "$id" 2>/dev/null |
    grep -Ec '^(Assigned|Accepted|Preparing|Ready|Starting|Running)') || true
  printf 'node %s %s\n' "$node" "${tasks:-0}"
done
