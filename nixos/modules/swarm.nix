# A swarm of one node, made at first boot: its certificates and its address belong to this machine and never to an image.
{ config, lib, ... }:
let
  cfg = config.landfall.swarm;
in
{
  options.landfall.swarm = {
    enable = lib.mkEnableOption "a Docker swarm of one node";
    pool = lib.mkOption {
      type = lib.types.str;
      default = "172.29.0.0/16";
      description = "IPv4 range of the overlay networks; clear of every network that the machine reaches.";
    };
  };

  config = lib.mkIf cfg.enable {
    landfall.docker.enable = true;
    systemd.services.landfall-swarm = {
      description = "Docker swarm of this machine";
      wantedBy = [ "multi-user.target" ];
      wants = [
        "docker.service"
        "network-online.target"
      ];
      after = [
        "docker.service"
        "landfall-metadata.service"
        "network-online.target"
      ];
      path = [ "/run/current-system/sw" ];
      environment.POOL = cfg.pool;
      script = builtins.readFile ../programs/swarm.sh;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        TimeoutStartSec = 180;
        Restart = "on-failure";
        RestartSec = 10;
      };
    };
  };
}
