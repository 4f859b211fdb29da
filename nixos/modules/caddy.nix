# Caddy with a certificate for one name, in front of a program on loopback. Name and port are the estate's: they come as
# LANDFALL_DOMAIN and LANDFALL_PORT in a file that is put on the machine, so that one build of the system fits every estate.
{ config, lib, ... }:
let
  settings = "/var/lib/landfall/backend.env";
in
{
  options.landfall.caddy.enable = lib.mkEnableOption "Caddy in front of the backend";

  config = lib.mkIf config.landfall.caddy.enable {
    services.caddy = {
      enable = true;
      environmentFile = settings;
      extraConfig = ''
        {$LANDFALL_DOMAIN} {
          encode zstd gzip
          reverse_proxy 127.0.0.1:{$LANDFALL_PORT:3000} {
            # A restart of the backend is a pause, not an error.
            lb_try_duration 15s
          }
        }
      '';
    };
    systemd.services.caddy.unitConfig.ConditionPathExists = settings;
  };
}
