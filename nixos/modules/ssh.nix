{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.landfall.ssh;
  file = ../operator-keys;
  isKey = line: builtins.isString line && builtins.match "[a-z].*" line != null;
in
{
  options.landfall.ssh.operatorKeys = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    default =
      if builtins.pathExists file then
        builtins.filter isKey (builtins.split "\n" (builtins.readFile file))
      else
        [ ];
    description = ''
      Public keys that may log in as root even when the metadata service gave none: those in nixos/operator-keys, one a line, where that
      file is.
    '';
  };

  config = {
    services.openssh = {
      enable = true;
      # The metadata service's keys are written there; since stateVersion 24.11 sshd does not read it by default.
      authorizedKeysInHomedir = true;
      # One type alone, the one that is pinned. The file is made at first boot, see metadata.nix.
      hostKeys = [
        {
          path = "/etc/ssh/ssh_host_ed25519_key";
          type = "ed25519";
        }
      ];
      settings = {
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        PermitRootLogin = "prohibit-password";
        X11Forwarding = false;
        UseDns = false;
        AllowAgentForwarding = false;
        # Dokploy's panel is reached through a tunnel to loopback; nothing needs a listener on the machine.
        AllowTcpForwarding = "local";
        LoginGraceTime = 30;
      };
    };
    # A new host key is put in force by a reload.
    systemd.services.sshd.serviceConfig.ExecReload = lib.mkDefault "${pkgs.coreutils}/bin/kill -HUP $MAINPID";

    users.users.root = {
      # No password fits.
      hashedPassword = "!";
      openssh.authorizedKeys.keys = cfg.operatorKeys;
    };
  };
}
