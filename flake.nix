{
  description = "Landfall's machines: the golden image, and servers that NixOS is installed on";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    disko.url = "github:nix-community/disko";
    disko.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      self,
      nixpkgs,
      disko,
    }:
    let
      machine =
        provider: landfall:
        nixpkgs.lib.nixosSystem {
          modules = [
            disko.nixosModules.disko
            ./nixos/configuration.nix
            (./nixos/modules + "/${provider}.nix")
            {
              inherit landfall;
              system.configurationRevision = self.rev or null;
            }
          ];
        };

      backend = {
        backend.enable = true;
        caddy.enable = true;
        firewall.tcpPorts = [
          80
          443
          4444
        ];
      };
    in
    {
      nixosConfigurations = {
        golden = machine "hetzner" { dokploy.enable = true; };
        golden-digitalocean = machine "digitalocean" { dokploy.enable = true; };

        base-hetzner = machine "hetzner" { docker.enable = true; };
        base-digitalocean = machine "digitalocean" { docker.enable = true; };

        backend-hetzner = machine "hetzner" backend;
        backend-digitalocean = machine "digitalocean" backend;

        cluster-node = machine "hetzner" { nomad.enable = true; };
      };

      devShells =
        nixpkgs.lib.genAttrs
          [
            "x86_64-linux"
            "aarch64-linux"
            "x86_64-darwin"
            "aarch64-darwin"
          ]
          (
            system:
            let
              pkgs = import nixpkgs {
                inherit system;
                # Packer is under the BUSL, which nixpkgs counts as unfree.
                config.allowUnfreePredicate = package: nixpkgs.lib.getName package == "packer";
              };
            in
            {
              default = pkgs.mkShell {
                # Not Bun: the one in nixpkgs is older than Landfall asks for, and would stand before yours on the PATH.
                packages = [
                  pkgs.packer
                  pkgs.nixos-anywhere
                  pkgs.hcloud
                ];
              };
            }
          );
    };
}
