case $PART in
  consul) config_file=/etc/consul.d/consul.json owner=consul data=/var/lib/consul ;;
  nomad) config_file=/etc/nomad.d/nomad.json owner=root data=/var/lib/nomad ;;
  caddy) config_file=/etc/caddy/Caddyfile owner=caddy data=/var/lib/caddy ;;
  *) fail 'PART is not consul, nomad or caddy.' 65 ;;
esac
binary=/usr/local/bin/$PART
unit_file=/etc/systemd/system/$PART.service
changed=$(cat "$UNTAKEN-$PART" 2>/dev/null || true)
work=$(mktemp -d /var/tmp/landfall-cluster.XXXXXX)
trap 'rm -rf "$work"' EXIT

# Requests that are under way get 20 seconds of it.
RELOAD_S=60

# Caddy's own words for what it failed at, as it prints them or as the journal has them.
error_in() { sed -n 's/^Error: //p' | tail -n 1; }
last_words() { journalctl _SYSTEMD_UNIT=caddy.service -n 50 -o cat --no-pager | error_in; }

# changes WHAT: said before it is put in place
changes() {
  case " $changed " in *" $1 "*) return 0 ;; esac
  changed="$changed $1"
  mkdir -p "${UNTAKEN%/*}"
  chmod 700 "${UNTAKEN%/*}"
  printf %s "$changed" >"$work/untaken"
  mv -f "$work/untaken" "$UNTAKEN-$PART"
}

packages() {
  DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >"$work/apt.log" 2>&1 ||
    fail "apt-get $1 failed: $(tail -n 1 "$work/apt.log")"
}

# need COMMAND PACKAGE
need() {
  command -v "$1" >/dev/null 2>&1 && return 0
  [ -f "$work/updated" ] || packages update
  : >"$work/updated"
  packages install -y --no-install-recommends "$2"
}

installed_version() {
  [ -x "$binary" ] || return 0
  "$binary" version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' | head -n 1
}

# --- the program

fetch() {
  need curl curl
  curl -fsSL --proto '=https' --retry 3 --max-time 300 -o "$work/download" "$URL" || fail "$URL could not be fetched."
  echo "$SHA256  $work/download" | sha256sum -c --status || fail "What $URL gave has another SHA-256 sum than config.json says."
  case $URL in
    *.zip)
      need unzip unzip
      unzip -q -o "$work/download" "$PART" -d "$work"
      ;;
    *.tar.gz) tar -xzf "$work/download" -C "$work" "$PART" ;;
    *) mv "$work/download" "$work/$PART" ;;
  esac
  chmod 755 "$work/$PART"
  changes program
  mv -f "$work/$PART" "$binary"
}

version=$(installed_version)
if [ -z "$version" ] || { [ -n "$VERSION" ] && [ "$version" != "$VERSION" ]; }; then
  if [ -n "$URL" ]; then
    fetch
  elif [ -n "$version" ]; then
    fail "$PART is $version here; config.json wants $VERSION and names no url to fetch it from." 6
  elif [ "$PART" = caddy ]; then
    changes program
    need caddy caddy
    systemctl disable --now caddy.service >/dev/null 2>&1 || true
    ln -sf /usr/bin/caddy "$binary"
  else
    fail "$PART is not installed here, and config.json names no url to fetch it from." 6
  fi
  version=$(installed_version)
  [ -z "$VERSION" ] || [ "$version" = "$VERSION" ] || fail "What was fetched is $PART $version, not $VERSION." 6
fi
if [ "$PART" = nomad ]; then need docker docker.io; fi

# --- who runs it, and where

if [ "$owner" != root ] && ! id "$owner" >/dev/null 2>&1; then
  useradd --system --home-dir "$data" --shell /usr/sbin/nologin "$owner"
fi
mkdir -p "${config_file%/*}" "$data"
chown "$owner" "${config_file%/*}" "$data"
chmod 700 "${config_file%/*}" "$data"

holds() { [ -f "$1" ] && [ "$(cat "$1" && echo .)" = "$2." ]; }

# put FILE TEXT [MODE]
put() {
  if holds "$1" "$2"; then return 0; fi
  printf %s "$2" >"$work/new"
  chown "$owner" "$work/new"
  chmod "${3:-600}" "$work/new"
  mv -f "$work/new" "$1"
}

# put_for_start FILE TEXT [MODE]: what the program reads when it starts or is told to read again
put_for_start() {
  if holds "$1" "$2"; then return 0; fi
  changes "${1##*/}"
  put "$@"
}

if [ -n "${CERT-}" ]; then
  mkdir -p "${config_file%/*}/tls"
  chown "$owner" "${config_file%/*}/tls"
  chmod 700 "${config_file%/*}/tls"
  if [ -n "${CA-}" ]; then put_for_start "${config_file%/*}/tls/ca.pem" "$CA"; fi
  # The certificate tells whether both are there, so it comes last.
  put_for_start "${config_file%/*}/tls/key.pem" "$KEY"
  put_for_start "${config_file%/*}/tls/cert.pem" "$CERT"
fi
# Whom to ask on the first start, which a member that knows the others needs no more, and logins, read at each pull: no reason for a restart.
if [ -n "${JOIN-}" ]; then put "${config_file%/*}/join.json" "$JOIN"; fi
if [ -n "${LOGINS-}" ]; then
  mkdir -p "${LOGINS_FILE%/*}"
  put "$LOGINS_FILE" "$LOGINS"
elif [ "$PART" = nomad ]; then
  rm -f "$LOGINS_FILE"
fi
if [ "$PART" = caddy ]; then
  # A reload that Caddy refuses never ends for systemd, so Caddy is asked before: as the user that it runs as, with the files that it may read.
  put "$config_file.new" "$CONFIG"
  (cd / && runuser -u caddy -- env HOME="$data" XDG_DATA_HOME="${data%/*}" XDG_CONFIG_HOME="$data" \
    "$binary" validate --config "$config_file.new" --adapter caddyfile) >"$work/validate.log" 2>&1 ||
    fail "Caddy does not take its new configuration: $(error_in <"$work/validate.log")"
  rm -f "$config_file.new"
fi
put_for_start "$config_file" "$CONFIG"
put_for_start "$unit_file" "$UNIT" 644
case $changed in *.service*) systemctl daemon-reload ;; esac

# --- running

systemctl enable -q "$PART.service" 2>/dev/null || fail "systemd did not take the unit of $PART."
state=$(systemctl is-active "$PART.service" 2>/dev/null || true)
# A Caddy that ends again and again, or a reload of it that never ends: nothing else would be a reason for a restart.
if [ "$PART" = caddy ]; then case $state in activating | reloading) changes state ;; esac; fi
if [ "$state" != active ] && [ "$state" != activating ] && [ "$state" != reloading ]; then
  systemctl reset-failed "$PART.service" 2>/dev/null || true
  changes started
  if [ "$PART" = caddy ]; then
    systemctl start caddy.service || fail "Caddy did not start: $(last_words)"
  else
    systemctl start --no-block "$PART.service"
  fi
elif [ "$PART" = caddy ] && [ -n "$changed" ] && ! echo "$changed" | grep -q -e program -e service -e state; then
  timeout "$RELOAD_S" systemctl reload caddy.service || fail "Caddy did not take its new configuration: $(last_words)"
elif [ "$PART" = caddy ] && [ -n "$changed" ]; then
  leave "$BLIND_S"
  systemctl restart caddy.service || fail "Caddy did not start again: $(last_words)"
elif [ -n "$changed" ]; then
  leave "$BLIND_S"
  systemctl restart --no-block "$PART.service"
fi
if [ "$PART" = caddy ]; then rm -f "$LEAVING"; fi
echo "changed=${changed# }"
