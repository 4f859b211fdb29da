# Makes sshd read its settings and host keys again without ending a session. The unit's name differs between distributions, and not
# each of them can reload: a restart leaves sessions alone too.
reload_sshd() {
  if [ ! -d /run/systemd/system ]; then
    kill -HUP "$(cat /run/sshd.pid)"
    return
  fi
  # While a machine boots, sshd lets somebody in before systemd has heard that it is ready.
  reload_tries=0
  until [ "$reload_tries" -ge 20 ]; do
    for service in ssh.service sshd.service; do
      if systemctl --quiet is-active "$service"; then
        systemctl reload-or-restart "$service"
        return
      fi
    done
    reload_tries=$((reload_tries + 1))
    sleep 0.5
  done
  return 1
}

