need_nixos
case ${REVISION-} in *[!0-9a-f]*) fail 'REVISION is not the id of a commit.' 65 ;; esac
case ${BRANCH-} in '' | -* | *[!A-Za-z0-9._/-]*) fail 'BRANCH is not the name of a branch.' 65 ;; esac
case ${PORT-} in '' | *[!0-9]*) fail 'PORT is not a port.' 65 ;; esac
case ${HEALTH-} in /*) ;; *) fail 'HEALTH is not a path.' 65 ;; esac
case ${BACK-no} in yes | no) ;; *) fail 'BACK is yes or no.' 65 ;; esac
if [ ! -d "$SOURCE/.git" ]; then fail 'The repository has not been cloned yet.' 3; fi
mkdir -p "$STATE/update-service"
exec 9>"$STATE/update-service.lock"
flock -w 10 9 || fail 'Another start of an update is still going on.' 75
if [ "$(update_unit service)" = running ]; then
  echo unit=running
  exit 0
fi
write_runner "$STATE/update-service/run.new"
chmod 700 "$STATE/update-service/run.new"
mv -f "$STATE/update-service/run.new" "$STATE/update-service/run"
printf '%s' "${REVISION-}" >"$STATE/update-service/revision"
printf '%s' "$BRANCH" >"$STATE/update-service/branch"
printf '%s' "$PORT" >"$STATE/update-service/port"
printf '%s' "$HEALTH" >"$STATE/update-service/health"
printf '%s' "${BACK-no}" >"$STATE/update-service/back"
: >"$STATE/update-service/log"
start_update service 3000 9>&-
