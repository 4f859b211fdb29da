# Dokploy, laid out as an installation on a stock server is: the same services, volumes and secrets by the same names, so that one set
# of programs looks after both. Nothing is removed on stop, and a running version is left alone: Dokploy updates itself, and an older
# version must not start on a newer database.
{ config, lib, ... }:
let
  cfg = config.landfall.dokploy;
  image =
    default:
    lib.mkOption {
      type = lib.types.str;
      inherit default;
      description = "Image reference, with a digest where one is wanted.";
    };
  prerequisites = [
    "docker.service"
    "landfall-secrets.service"
    "landfall-swarm.service"
  ];
  unit = {
    wantedBy = [ "multi-user.target" ];
    path = [ "/run/current-system/sw" ];
  };
in
{
  options.landfall.dokploy = {
    enable = lib.mkEnableOption "Dokploy";
    version = lib.mkOption {
      type = lib.types.str;
      default = "0.30.2";
      description = "Version that a new machine starts with.";
    };
    images = {
      dokploy = image "dokploy/dokploy:v${cfg.version}";
      postgres = image "postgres:16";
      traefik = image "traefik:v3.6.7";
      archives = lib.mkOption {
        type = lib.types.listOf lib.types.path;
        default = [ ];
        description = "Archives of `docker save`, loaded at first boot instead of pulled.";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    landfall.swarm.enable = true;
    # Until somebody has claimed it, the panel belongs to whoever asks first, and it rules Docker.
    landfall.firewall.hostPorts = [ 3000 ];
    # The encryption key can never be changed: what it encrypted is lost with it.
    landfall.secrets = [
      "dokploy_postgres_password"
      "dokploy_auth_secret"
      "dokploy_encryption_key"
    ];
    systemd.tmpfiles.rules = [ "d /etc/dokploy 0700 root root -" ];

    systemd.services.dokploy-stack = unit // {
      description = "Dokploy";
      # Not `requires`: what failed once is tried again by itself, and a start that was cancelled for it would not be.
      wants = prerequisites;
      after = prerequisites;
      environment = {
        VERSION = cfg.version;
        DOKPLOY_IMAGE = cfg.images.dokploy;
        POSTGRES_IMAGE = cfg.images.postgres;
        ARCHIVES = lib.concatStringsSep " " (map toString cfg.images.archives);
      };
      script = builtins.readFile ../programs/dokploy.sh;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        # The first start pulls about a gigabyte.
        TimeoutStartSec = 1800;
        Restart = "on-failure";
        RestartSec = 15;
      };
    };

    systemd.services.dokploy-traefik = unit // {
      description = "Traefik in front of Dokploy's applications";
      wants = [ "dokploy-stack.service" ];
      after = [ "dokploy-stack.service" ];
      environment.TRAEFIK_IMAGE = cfg.images.traefik;
      script = builtins.readFile ../programs/traefik.sh;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        TimeoutStartSec = 900;
        Restart = "on-failure";
        RestartSec = 15;
      };
    };
  };
}
