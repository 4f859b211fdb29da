# What the outside reaches. Docker publishes ports past the INPUT chain, where networking.firewall works, so the same list is kept in
# DOCKER-USER, for both families. The original port is matched: the rules run after DNAT.
{ config, lib, ... }:
let
  cfg = config.landfall.firewall;

  published =
    protocol: ports: command:
    lib.concatMapStringsSep "\n" (
      port:
      "${command} -A landfall-docker -p ${protocol} -m conntrack --ctorigdstport ${toString port} --ctdir ORIGINAL -j RETURN"
    ) ports;

  outside = [
    "en+"
    "eth+"
  ];

  filled =
    command: ranges: ''
      ${command} -N DOCKER-USER 2>/dev/null || true
      ${command} -N landfall-docker 2>/dev/null || true
      ${command} -F landfall-docker
      ${command} -A landfall-docker -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
      ${lib.concatMapStringsSep "\n" (range: "${command} -A landfall-docker -s ${range} -j RETURN") ranges}
      ${published "tcp" cfg.tcpPorts command}
      ${published "udp" cfg.udpPorts command}
      ${command} -A landfall-docker -m conntrack --ctdir ORIGINAL -j DROP
      ${lib.concatMapStringsSep "\n" (interface: ''
        ${command} -D DOCKER-USER -i ${interface} -j landfall-docker 2>/dev/null || true
        ${command} -I DOCKER-USER -i ${interface} -j landfall-docker'') outside}
    '';

  emptied =
    command:
    lib.concatMapStringsSep "\n" (
      interface: "${command} -D DOCKER-USER -i ${interface} -j landfall-docker 2>/dev/null || true"
    ) outside;
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
        ${filled "iptables -w" cfg.trustedRanges}
        # User data holds the first host key; no container has to read it.
        iptables -w -D DOCKER-USER -d 169.254.169.254 -j DROP 2>/dev/null || true
        iptables -w -I DOCKER-USER -d 169.254.169.254 -j DROP
        ${filled "ip6tables -w" [ ]}
      '';
      extraStopCommands = lib.optionalString config.landfall.docker.enable ''
        ${emptied "iptables -w"}
        ${emptied "ip6tables -w"}
      '';
    };
  };
}
