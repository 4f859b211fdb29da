# What starting an installation is, whichever it is: a program written down with its settings, run as one unit.

# accept NAME VALUE ALLOWED-CHARACTERS
accept() {
  if [ -z "$2" ] || [ -n "$(printf %s "$2" | tr -d "$3")" ]; then fail "$1 is not what an installation can use." 65; fi
}

# attach_install COMMAND…: ends the program where one is under way, or was finished and COMMAND finds it well.
attach_install() {
  mkdir -p /etc/landfall /var/lib/landfall /var/log/landfall "${INSTALLER%/*}"
  chmod 700 /etc/landfall /var/lib/landfall /var/log/landfall "${INSTALLER%/*}"
  # Two operators at once: the second waits here and then finds the first one's unit.
  exec 9>/var/lib/landfall/start.lock
  flock -w 10 9 || fail 'Another start of the installation is still going on.' 75
  case $(install_unit) in
    running)
      echo unit=running
      exit 0
      ;;
    'done')
      if "$@"; then
        echo unit=done
        exit 0
      fi
      ;;
    *) ;;
  esac
}

# start_install CONFIG: the settings come on stdin.
start_install() {
  write_installer "$INSTALLER.new"
  chmod 700 "$INSTALLER.new"
  mv -f "$INSTALLER.new" "$INSTALLER"
  cat >"$1.new"
  mv -f "$1.new" "$1"
  # What is left of an earlier attempt gives its name back; nothing of it runs any more.
  systemctl stop "$UNIT.service" 2>/dev/null || true
  systemctl reset-failed "$UNIT.service" 2>/dev/null || true
  systemd-run --quiet --unit="$UNIT" --remain-after-exit --property=KillMode=mixed \
    --property=StandardOutput="append:$INSTALL_LOG" --property=StandardError="append:$INSTALL_LOG" \
    timeout --kill-after=30 2400 flock -n /var/lib/landfall/install.lock "$INSTALLER" 9>&- ||
    fail 'systemd did not start the installation.'
  echo unit=started
}

