# Nomad over the private network, server and client in one. Secrets as in consul.nix.
{ config, lib, ... }:
let
  cfg = config.landfall.nomad;
  secrets = "/var/lib/landfall/nomad.json";
  address = ''{{ GetPrivateInterfaces | include "network" "${config.landfall.cluster.range}" | attr "address" }}'';
in
{
  options.landfall.nomad = {
    enable = lib.mkEnableOption "a Nomad server that also runs jobs";
    reservedMemoryMb = lib.mkOption {
      type = lib.types.int;
      default = 1024;
      description = "Memory that jobs may not take from Nomad, Consul and the system, in MB.";
    };
  };

  config = lib.mkIf cfg.enable {
    landfall.docker.enable = true;
    # Nomad's own service registry drops a service only after its shutdown delay, https://github.com/hashicorp/nomad/issues/15602:
    # as long as that is open, Consul is the registry.
    landfall.consul.enable = true;
    services.nomad = {
      enable = true;
      enableDocker = true;
      # A client that runs Docker tasks has to be root.
      dropPrivileges = false;
      credentials."secrets.json" = secrets;
      settings = {
        bind_addr = "0.0.0.0";
        addresses.http = "127.0.0.1";
        advertise = {
          http = address;
          rpc = address;
          serf = address;
        };
        server = {
          enabled = true;
          bootstrap_expect = builtins.length config.landfall.cluster.servers;
          server_join.retry_join = config.landfall.cluster.servers;
        };
        client = {
          enabled = true;
          servers = config.landfall.cluster.servers;
          reserved.memory = cfg.reservedMemoryMb;
        };
        acl.enabled = true;
        consul.address = "127.0.0.1:8500";
        telemetry.prometheus_metrics = true;
      };
    };
    systemd.services.nomad = {
      after = [ "consul.service" ];
      unitConfig.ConditionPathExists = secrets;
    };
  };
}
