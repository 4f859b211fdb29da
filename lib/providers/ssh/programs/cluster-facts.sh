# part_version PROGRAM: as "1.16.1", or none
part_version() {
  [ -x "/usr/local/bin/$1" ] || { echo none; return 0; }
  version=$("/usr/local/bin/$1" version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' | head -n 1)
  echo "${version:-none}"
}

# part_files PART CONFIG UNIT [MORE]: one hash over all
part_files() {
  untaken=$UNTAKEN-$1
  shift
  if ! [ -f "$1" ] || ! [ -f "$2" ]; then
    echo none
  elif [ -e "$untaken" ]; then
    echo untaken
  else
    cat "$@" | sha256sum | cut -d ' ' -f 1
  fi
}

part_certificate() {
  if [ -f "$1" ]; then base64 <"$1" | tr -d '\n'; fi
}

part() {
  printf '%s_version=%s\n' "$1" "$(part_version "$1")"
  printf '%s_state=%s\n' "$1" "$(systemctl is-active "$1.service" 2>/dev/null || true)"
  more=
  if [ "$1" = nomad ] && [ -f "$LOGINS_FILE" ]; then more=$LOGINS_FILE; fi
  printf '%s_files=%s\n' "$1" "$(part_files "$1" "$2" "/etc/systemd/system/$1.service" ${more:+"$more"})"
  printf '%s_certificate=%s\n' "$1" "$(part_certificate "${2%/*}/tls/cert.pem")"
}

printf 'addresses=%s\n' "$(ip -o -4 address show | awk '{ split($4, address, "/"); printf "%s%s@%s", sep, address[1], $2; sep = "," }')"
if [ -e "$LEAVING" ]; then echo leaving=yes; else echo leaving=no; fi
part consul /etc/consul.d/consul.json
part nomad /etc/nomad.d/nomad.json
part caddy /etc/caddy/Caddyfile
