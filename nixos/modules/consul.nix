# Consul over the private network. Its secrets (gossip key, tokens, certificates) come as one JSON file that is put on the machine
# after it was made; until then the agent does not start.
{ config, lib, ... }:
let
  cfg = config.landfall.consul;
  secrets = "/var/lib/landfall/consul.json";
in
{
  options.landfall = {
    cluster = {
      range = lib.mkOption {
        type = lib.types.str;
        default = "10.0.0.0/16";
        description = "The private network; the address of this node in it is the one that agents bind to.";
      };
      servers = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [
          "10.0.1.1"
          "10.0.1.2"
          "10.0.1.3"
        ];
        description = "Fixed private addresses of the servers. Joining by the cloud's API would put its token on every node.";
      };
    };
    consul.enable = lib.mkEnableOption "a Consul server";
  };

  config = lib.mkIf cfg.enable {
    # Consul and Nomad are under the BUSL, which nixpkgs counts as unfree.
    nixpkgs.config.allowUnfree = true;
    services.consul = {
      enable = true;
      # systemd's name for the directory of the credentials below.
      extraConfigFiles = [ "%d/secrets.json" ];
      extraConfig = {
        server = true;
        bootstrap_expect = builtins.length config.landfall.cluster.servers;
        retry_join = config.landfall.cluster.servers;
        # Not GetPrivateIP, which may answer with a bridge of Docker's.
        bind_addr = ''{{ GetPrivateInterfaces | include "network" "${config.landfall.cluster.range}" | attr "address" }}'';
        client_addr = "127.0.0.1";
        acl = {
          enabled = true;
          default_policy = "deny";
          enable_token_persistence = true;
        };
        connect.enabled = true;
        ports.grpc = 8502;
      };
    };
    landfall.firewall.trustedRanges = [ config.landfall.cluster.range ];
    systemd.services.consul = {
      unitConfig.ConditionPathExists = secrets;
      serviceConfig.LoadCredential = [ "secrets.json:${secrets}" ];
    };
  };
}
