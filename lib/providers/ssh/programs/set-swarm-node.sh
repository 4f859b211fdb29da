case ${NODE-} in '' | *[!a-z0-9]*) fail 'NODE is not the id of a node.' 65 ;; esac
leaving() {
  docker node inspect --format '{{if index .Spec.Labels "landfall.leaving"}}yes{{end}}' "$NODE" 2>/dev/null
}
case ${STATE-} in
  drain) docker node update --availability drain --label-add landfall.leaving=yes "$NODE" >/dev/null ;;
  active)
    docker node update --availability active "$NODE" >/dev/null
    if [ "$(leaving)" = yes ]; then docker node update --label-rm landfall.leaving "$NODE" >/dev/null; fi
    ;;
  gone) if docker node inspect "$NODE" >/dev/null 2>&1; then docker node rm --force "$NODE" >/dev/null; fi ;;
  *) fail 'A node is active, drained or gone.' 65 ;;
esac
echo ok=1
