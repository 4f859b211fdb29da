# Name, login keys and SSH host key of a machine, from its provider's metadata service. The pinned host key travels in the user data
# of a new server and has to be in place before sshd answers for the first time.
{ config, lib, ... }:
{
  options.landfall.metadata.provider = lib.mkOption {
    type = lib.types.enum [
      "hetzner"
      "digitalocean"
    ];
    description = "Whose metadata service this machine asks.";
  };

  config.systemd.services.landfall-metadata = {
    description = "Name, login keys and host key from the metadata service";
    wantedBy = [ "multi-user.target" ];
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    before = [
      "sshd-keygen.service"
      "sshd.service"
      "docker.service"
    ];
    # ssh-keygen, curl and awk of the system; a package would bring a second copy.
    path = [ "/run/current-system/sw" ];
    environment.PROVIDER = config.landfall.metadata.provider;
    script = builtins.readFile ../programs/metadata.sh;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      # sshd waits this long at most for a service that does not answer; the unit tries again by itself.
      TimeoutStartSec = 120;
      Restart = "on-failure";
      RestartSec = 10;
    };
  };
}
