{ config, lib, ... }:
{
  options.landfall.docker.enable = lib.mkEnableOption "Docker";

  config = lib.mkIf config.landfall.docker.enable {
    virtualisation.docker = {
      enable = true;
      logDriver = "json-file";
      daemon.settings = {
        # A swarm refuses to start with it.
        live-restore = false;
        log-opts = {
          max-size = "10m";
          max-file = "3";
        };
        # Clear of 10.0.0.0/8 (private networks) and of the swarm's own pool.
        default-address-pools = [
          {
            base = "172.20.0.0/14";
            size = 24;
          }
        ];
      };
    };
  };
}
