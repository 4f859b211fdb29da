# What the outside reaches. Docker publishes ports past the INPUT chain, where networking.firewall works, so the same list is kept in
# DOCKER-USER, for both families. The original port is matched: the rules run after DNAT.
{ config, lib, ... }:
let
  cfg = config.landfall.firewall;

  published =
    protocol: ports:
    map (
      port: "-A landfall-docker -p ${protocol} -m conntrack --ctorigdstport ${toString port} --ctdir ORIGINAL -j RETURN"
    ) ports;

  outside = [
    "en+"
    "eth+"
  ];

  bridges = [
    "docker+"
    "br-+"
  ];

  # What DOCKER-USER has of ours: from outside everything goes through landfall-docker; a container does not reach a port that is the
  # host's own. What containers have on such a port themselves comes without DNAT, and is theirs.
  ways =
    map (interface: "-i ${interface} -j landfall-docker") outside
    ++ builtins.concatMap (
      port:
      map (
        bridge: "-i ${bridge} -p tcp -m conntrack --ctstate DNAT --ctorigdstport ${toString port} --ctdir ORIGINAL -j DROP"
      ) bridges
    ) cfg.hostPorts;

  # The list in one piece, and rules that stay where they are: a reload has no moment at which everything is reached.
  filled =
    command: ranges:
    let
      list = [
        "*filter"
        ":landfall-docker - [0:0]"
        "-A landfall-docker -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"
      ]
      ++ map (range: "-A landfall-docker -s ${range} -j RETURN") ranges
      ++ published "tcp" cfg.tcpPorts
      ++ published "udp" cfg.udpPorts
      ++ [
        "-A landfall-docker -m conntrack --ctdir ORIGINAL -j DROP"
        "COMMIT"
      ];
    in
    ''
      printf '%s\n' ${lib.concatMapStringsSep " " (line: "'${line}'") list} | ${command}-restore -w --noflush
      ${command} -w -N DOCKER-USER 2>/dev/null || true
      ${lib.concatMapStringsSep "\n" (inserted command) ways}
    '';

  inserted = command: rule: ''
    ${command} -w -C DOCKER-USER ${rule} 2>/dev/null || ${command} -w -I DOCKER-USER ${rule}
  '';

  emptied =
    command: lib.concatMapStringsSep "\n" (rule: "${command} -w -D DOCKER-USER ${rule} 2>/dev/null || true") ways;
in
{
  options.landfall.firewall = {
    tcpPorts = lib.mkOption {
      type = lib.types.listOf lib.types.port;
      default = [
        80
        443
      ];
      description = "Ports that everybody reaches, besides SSH.";
    };
    udpPorts = lib.mkOption {
      type = lib.types.listOf lib.types.port;
      default = [ 443 ];
      description = "UDP ports that everybody reaches.";
    };
    hostPorts = lib.mkOption {
      type = lib.types.listOf lib.types.port;
      default = [ ];
      description = "Published TCP ports that containers do not reach through the host either.";
    };
    trustedRanges = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      description = "IPv4 ranges, such as the private network of a cluster, that reach every port.";
    };
  };

  config = {
    # Docker's rules and the ones below are iptables'.
    networking.nftables.enable = false;
    networking.firewall = {
      enable = true;
      allowedTCPPorts = [ 22 ] ++ cfg.tcpPorts;
      allowedUDPPorts = cfg.udpPorts;
      logRefusedConnections = false;
      extraCommands = ''
        ${lib.concatMapStringsSep "\n" (range: "iptables -w -A nixos-fw -s ${range} -j nixos-fw-accept") cfg.trustedRanges}
      ''
      + lib.optionalString config.landfall.docker.enable ''
        ${filled "iptables" cfg.trustedRanges}
        # User data holds the first host key; no container has to read it.
        ${inserted "iptables" "-d 169.254.169.254 -j DROP"}
        ${filled "ip6tables" [ ]}
      '';
      extraStopCommands = lib.optionalString config.landfall.docker.enable ''
        ${emptied "iptables"}
        ${emptied "ip6tables"}
      '';
    };
  };
}
