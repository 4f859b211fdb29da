# Secrets that a machine makes for itself at its first boot, so that none is in an image, a store or a repository.
{ config, lib, ... }:
let
  names = config.landfall.secrets;
in
{
  options.landfall.secrets = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    default = [ ];
    description = "Names of files below /var/lib/landfall/secrets: 32 random bytes each, in hexadecimal, for root alone.";
  };

  config.systemd.services = lib.mkIf (names != [ ]) {
    landfall-secrets = {
      description = "Secrets of this machine";
      wantedBy = [ "multi-user.target" ];
      environment.SECRETS = lib.concatStringsSep " " names;
      script = builtins.readFile ../programs/secrets.sh;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        UMask = "0077";
      };
    };
  };
}
