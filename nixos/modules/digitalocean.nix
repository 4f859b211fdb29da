# DigitalOcean: addresses come from the metadata alone, so cloud-init renders the network. It does nothing else here: name, keys and
# host key are metadata.nix's, the same as everywhere.
{ lib, modulesPath, ... }:
{
  imports = [ (modulesPath + "/virtualisation/digital-ocean-config.nix") ];

  landfall.metadata.provider = "digitalocean";
  landfall.disk.device = "/dev/vda";

  # Both disko and the imported module name this disk, and GRUB refuses to see it twice.
  boot.loader.grub.devices = lib.mkForce [ "/dev/vda" ];

  virtualisation.digitalOcean = {
    setSshKeys = false;
    setRootPassword = false;
    rebuildFromUserData = false;
  };

  networking.useDHCP = lib.mkForce false;
  services.cloud-init = {
    enable = true;
    network.enable = true;
    settings = {
      datasource_list = [
        "ConfigDrive"
        "DigitalOcean"
      ];
      datasource.ConfigDrive = { };
      datasource.DigitalOcean = { };
      preserve_hostname = true;
      ssh_deletekeys = false;
      # Most other modules fail on NixOS, and a few of them would write what is ours.
      cloud_init_modules = [ "seed_random" ];
      cloud_config_modules = [ ];
      cloud_final_modules = [ "final_message" ];
    };
  };
}
