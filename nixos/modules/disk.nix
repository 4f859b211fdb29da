{ config, lib, ... }:
{
  options.landfall.disk.device = lib.mkOption {
    type = lib.types.str;
    description = "The disk that the system is installed on; everything on it is lost.";
  };

  config = {
    disko.devices.disk.main = {
      type = "disk";
      inherit (config.landfall.disk) device;
      content = {
        type = "gpt";
        partitions = {
          bios = {
            priority = 1;
            size = "1M";
            type = "EF02";
          };
          ESP = {
            priority = 2;
            size = "512M";
            type = "EF00";
            content = {
              type = "filesystem";
              format = "vfat";
              mountpoint = "/boot";
              mountOptions = [ "umask=0077" ];
            };
          };
          # Last and plain, or it could not grow to the disk of a larger server.
          root = {
            priority = 3;
            size = "100%";
            content = {
              type = "filesystem";
              format = "ext4";
              mountpoint = "/";
            };
          };
        };
      };
    };
    boot.growPartition = true;
    fileSystems."/".autoResize = true;

    # The same disk boots on BIOS (Hetzner's x86 servers, droplets) and on UEFI. disko names the disk to GRUB.
    boot.loader.grub = {
      enable = true;
      efiSupport = true;
      efiInstallAsRemovable = true;
      configurationLimit = 10;
    };
    boot.loader.timeout = 1;
    services.fstrim.enable = true;
  };
}
