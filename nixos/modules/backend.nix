# An application that brings its own environment: its repository is cloned and `devenv up` runs in it. What to clone is the estate's:
# LANDFALL_REPOSITORY and LANDFALL_BRANCH in a file that is put on the machine.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.landfall.backend;
  settings = "/var/lib/landfall/backend.env";
  home = "/var/lib/backend";
in
{
  options.landfall.backend = {
    enable = lib.mkEnableOption "an application run by devenv";
    profile = lib.mkOption {
      type = lib.types.str;
      default = "prod";
      description = "The profile of devenv.nix that is started.";
    };
    bindsWebPorts = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "The application serves ports below 1024 itself; then `landfall.caddy` has to be off.";
    };
  };

  config = lib.mkIf cfg.enable {
    landfall.docker.enable = true;
    environment.systemPackages = [ pkgs.devenv ];
    # Built there; on a small machine building devenv's own tools would take an hour.
    nix.settings = {
      extra-substituters = [ "https://devenv.cachix.org" ];
      extra-trusted-public-keys = [ "devenv.cachix.org-1:w1cLUi8dv3hnoSPGAuibQv+f9TZLr6cv/Hm9XgU50cw=" ];
    };

    users.users.backend = {
      isSystemUser = true;
      group = "backend";
      inherit home;
      createHome = true;
      # It starts containers, which is as good as being root.
      extraGroups = [ "docker" ];
    };
    users.groups.backend = { };

    systemd.services.landfall-backend = {
      description = "The backend, in its devenv environment";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "docker.service"
        "landfall-metadata.service"
      ];
      path = [ "/run/current-system/sw" ];
      environment = {
        HOME = home;
        # There is no terminal to draw on.
        DEVENV_TUI = "false";
        # The settings may name another.
        LANDFALL_PROFILE = cfg.profile;
      };
      unitConfig.ConditionPathExists = settings;
      preStart = builtins.readFile ../programs/backend.sh;
      serviceConfig = {
        ExecStart = "${pkgs.devenv}/bin/devenv --profile \${LANDFALL_PROFILE} up";
        EnvironmentFile = [
          settings
          # Its own variables, which Caddy does not see.
          "-/var/lib/landfall/backend-variables.env"
        ];
        User = "backend";
        Group = "backend";
        # Made by the clone, hence the dash; the first start is not in it yet.
        WorkingDirectory = "-${home}/source";
        KillMode = "mixed";
        Restart = "on-failure";
        RestartSec = 10;
        # The first start clones and builds.
        TimeoutStartSec = 3600;
        TimeoutStopSec = 60;
        AmbientCapabilities = lib.optionals cfg.bindsWebPorts [ "CAP_NET_BIND_SERVICE" ];
        NoNewPrivileges = true;
        PrivateTmp = true;
      };
    };
  };
}
