working=
if [ -n "${RELIEF:-}" ]; then
  # shellcheck disable=SC2086
  working=$(docker inspect --type container --format '{{.Id}} {{.State.Status}} {{with index .State "Health"}}{{.Status}}{{else}}none{{end}}' $RELIEF 2>/dev/null |
    awk '$2 == "running" && $3 != "unhealthy" { printf "%s ", $1 }')
fi
fallen=no
for id in ${RELIEF:-}; do
  case " $working" in *" $id "*) continue ;; esac
  printf 'fallen=%s\n' "$id"
  fallen=yes
done
if [ "$fallen" = no ]; then stop_all "$IDS"; fi
