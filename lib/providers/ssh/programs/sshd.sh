# Makes sshd read its settings and host keys again without ending a session. The unit's name differs between distributions, and not
# each of them can reload: a restart leaves sessions alone too.
reload_sshd() {
  if [ ! -d /run/systemd/system ]; then
    kill -HUP "$(cat /run/sshd.pid)"
    return
  fi
  for service in ssh.service sshd.service; do
    if systemctl --quiet is-active "$service"; then
      systemctl reload-or-restart "$service"
      return
    fi
  done
  return 1
}

