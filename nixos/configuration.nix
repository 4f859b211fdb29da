# What every machine of an estate has in common. A provider's module is added in flake.nix; what a machine is for is chosen there
# by `landfall.*` options. Nothing here holds an identity or a secret: both are made on the machine at its first boot.
{
  imports = [
    ./modules/base.nix
    ./modules/ssh.nix
    ./modules/disk.nix
    ./modules/metadata.nix
    ./modules/firewall.nix
    ./modules/docker.nix
    ./modules/secrets.nix
    ./modules/swarm.nix
    ./modules/dokploy.nix
    ./modules/consul.nix
    ./modules/nomad.nix
    ./modules/caddy.nix
    ./modules/backend.nix
  ];
}
