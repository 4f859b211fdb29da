{ lib, pkgs, ... }:
{
  # Fixed for the life of a machine: it says which release its data was made with, not which one it runs.
  system.stateVersion = "26.05";
  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";

  # Empty: the name comes from the metadata service.
  networking.hostName = lib.mkDefault "";
  networking.useNetworkd = true;
  networking.useDHCP = false;
  systemd.network.wait-online.anyInterface = true;
  systemd.network.wait-online.timeout = 60;

  time.timeZone = "UTC";
  services.timesyncd.enable = true;
  services.journald.extraConfig = ''
    SystemMaxUse=500M
    MaxRetentionSec=1month
  '';
  zramSwap.enable = true;
  boot.tmp.cleanOnBoot = true;
  documentation.enable = false;

  environment.systemPackages = [
    pkgs.curl
    pkgs.git
  ];
  # Where the programs that Landfall sends over SSH keep what they know of this machine.
  systemd.tmpfiles.rules = [
    "d /etc/landfall 0700 root root -"
    "d /var/lib/landfall 0700 root root -"
  ];

  nix.channel.enable = false;
  nix.settings = {
    experimental-features = [
      "nix-command"
      "flakes"
    ];
    auto-optimise-store = true;
  };
  nix.gc = {
    automatic = true;
    dates = "weekly";
    options = "--delete-older-than 30d";
  };
}
