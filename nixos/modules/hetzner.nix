# Hetzner Cloud: addresses by DHCP on both the public and the private interface; IPv6 is static and comes with the metadata.
{ modulesPath, ... }:
{
  imports = [ (modulesPath + "/profiles/qemu-guest.nix") ];

  landfall.metadata.provider = "hetzner";
  landfall.disk.device = "/dev/sda";

  boot.initrd.availableKernelModules = [
    "ahci"
    "sd_mod"
    "sr_mod"
    "virtio_pci"
    "virtio_scsi"
    "xhci_pci"
  ];
  boot.kernelParams = [ "console=tty0" ];
  services.qemuGuest.enable = true;

  systemd.network.networks."30-landfall" = {
    matchConfig.Name = "en* eth*";
    networkConfig = {
      DHCP = "ipv4";
      IPv6AcceptRA = false;
    };
    dhcpV4Config.UseHostname = false;
  };
}
