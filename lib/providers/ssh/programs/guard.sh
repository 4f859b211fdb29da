# What a stock server keeps shut by itself, over both families: the swarm's ports for everybody but its members; the panel's for the
# neighbours of a private network, which no cloud firewall filters, and for everybody once it has a name; the metadata service for
# containers. The raw table comes before Docker's own rules and before DNAT, so a published port still has its own number there.
GUARD=/usr/local/lib/landfall/guard
GUARD_UNIT=/etc/systemd/system/landfall-guard.service

put_guard_up() {
  mkdir -p "${GUARD%/*}" "${GUARD_UNIT%/*}" "${PANEL_PORT_FILE%/*}"
  cat >"$GUARD.new" <<'END-OF-GUARD'
#!/bin/sh
# Written by Landfall. To let a neighbour reach one of these ports, put an ACCEPT for it into raw PREROUTING, ahead of this chain.
set -eu
panel=open
if [ -s /etc/landfall/panel-port ]; then panel=$(cat /etc/landfall/panel-port); fi
peers=
if [ -s /etc/landfall/swarm-peers ]; then peers=$(tr '\n' ' ' </etc/landfall/swarm-peers); fi
public=$({
  ip -4 route show default
  ip -6 route show default
} | sed -n 's/.* dev \([^ ]*\).*/\1/p' | sort -u)

rules() {
  echo '*raw'
  echo ':landfall-guard - [0:0]'
  echo '-A landfall-guard -i lo -j RETURN'
  for bridge in docker+ br-+ veth+; do
    if [ "$1" = iptables ]; then echo "-A landfall-guard -i $bridge -d 169.254.169.254 -j DROP"; fi
    echo "-A landfall-guard -i $bridge -j RETURN"
  done
  if [ "$panel" != closed ]; then
    for interface in $public; do echo "-A landfall-guard -i $interface -p tcp --dport 3000 -j RETURN"; done
  fi
  if [ "$1" = iptables ] && [ -n "$peers" ]; then
    # A member's address counts on the private network alone.
    for interface in $public; do
      echo "-A landfall-guard -i $interface -p tcp -m multiport --dports 2377,7946 -j DROP"
      echo "-A landfall-guard -i $interface -p udp -m multiport --dports 4789,7946 -j DROP"
    done
    for peer in $peers; do
      echo "-A landfall-guard -s $peer -p tcp -m multiport --dports 2377,7946 -j RETURN"
      echo "-A landfall-guard -s $peer -p udp -m multiport --dports 4789,7946 -j RETURN"
    done
  fi
  echo '-A landfall-guard -p tcp -m multiport --dports 2377,3000,7946 -j DROP'
  echo '-A landfall-guard -p udp -m multiport --dports 4789,7946 -j DROP'
  echo COMMIT
}

for family in iptables ip6tables; do
  if [ "$family" = ip6tables ] && [ ! -d /proc/sys/net/ipv6 ]; then continue; fi
  # One transaction: there is no moment without rules.
  rules "$family" | "$family-restore" -w 30 --noflush
  "$family" -w 30 -t raw -C PREROUTING -j landfall-guard 2>/dev/null || "$family" -w 30 -t raw -A PREROUTING -j landfall-guard
done
# What is in force, for whoever asks.
mkdir -p /run/landfall
printf '%s\n' "$peers" >/run/landfall/swarm-peers
END-OF-GUARD
  chmod 700 "$GUARD.new"
  mv -f "$GUARD.new" "$GUARD"
  cat >"$GUARD_UNIT.new" <<'END-OF-UNIT'
[Unit]
Description=Ports that this server never shows to its networks (Landfall)
Wants=network-online.target
After=network-online.target
Before=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/landfall/guard

[Install]
WantedBy=multi-user.target
END-OF-UNIT
  chmod 644 "$GUARD_UNIT.new"
  mv -f "$GUARD_UNIT.new" "$GUARD_UNIT"
  systemctl daemon-reload && systemctl enable --quiet landfall-guard.service && systemctl restart landfall-guard.service
}
