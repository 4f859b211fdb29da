# The golden image: a temporary server, NixOS installed over it without ever being booted, a snapshot, and nothing left behind.

variable "token" {
  description = "Token of the Hetzner project that builds and keeps the image."
  type        = string
  default     = env("HCLOUD_TOKEN")
  sensitive   = true
}

variable "location" {
  description = "Where the temporary server stands; an image is usable in every location."
  type        = string
  default     = "nbg1"
}

variable "server_type" {
  description = "Type of the temporary server. The image needs at least its disk: take the smallest type that is ever to run it."
  type        = string
  default     = "cx23"
}

variable "server_name" {
  description = "Name of the temporary server. Its prefix is how a leaked one is found."
  type        = string
  default     = "landfall-image-build"
}

variable "base_image" {
  description = "System image that the installation starts from."
  type        = string
  # kexec fails from Ubuntu 26.04 (nixos-anywhere issue 651); until that is closed, the release before.
  default = "ubuntu-24.04"
}

variable "rescue" {
  description = "Rescue system to start from, or empty for the system image itself."
  type        = string
  default     = "linux64"
}

variable "ssh_port" {
  description = "SSH port of the temporary server."
  type        = number
  default     = 22
}

variable "ssh_timeout" {
  description = "How long the temporary server may take until it answers SSH."
  type        = string
  default     = "10m"
}

variable "flake" {
  description = "The flake that describes the system."
  type        = string
  default     = "."
}

variable "flake_attr" {
  description = "Which of the flake's nixosConfigurations the image is."
  type        = string
  default     = "golden"
}

variable "install_command" {
  description = "Command on this machine that installs the system on TARGET; empty for install.sh beside this file."
  type        = string
  default     = ""
}

variable "mount_root" {
  description = "Where the installed system is mounted on the temporary server."
  type        = string
  default     = "/mnt"
}

variable "snapshot_name" {
  description = "Description of the snapshot; empty for nixos-dokploy- and today's date."
  type        = string
  default     = ""
}

variable "built" {
  description = "Day of the build as YYYYMMDD; empty for today."
  type        = string
  default     = ""
}

variable "content" {
  description = "Hash of everything that the image is made of; tells whether an image is fresh."
  type        = string
  default     = "unknown"
}

variable "revision" {
  description = "Revision of the repository that the image was built from."
  type        = string
  default     = "unknown"
}

variable "nixos_version" {
  description = "Release of NixOS in the image."
  type        = string
  default     = "26.05"
}

variable "dokploy_version" {
  description = "Version of Dokploy that a server made from the image starts with."
  type        = string
  default     = "0.30.2"
}

variable "labels" {
  description = "More labels for the snapshot."
  type        = map(string)
  default     = {}
}

variable "manifest" {
  description = "File that the snapshot's id is written to."
  type        = string
  default     = "packer-manifest.json"
}

locals {
  built         = var.built != "" ? var.built : formatdate("YYYYMMDD", timestamp())
  snapshot_name = var.snapshot_name != "" ? var.snapshot_name : "nixos-dokploy-${local.built}"
  labels = merge(var.labels, {
    "landfall/image"    = "nixos-dokploy"
    "landfall/built"    = local.built
    "landfall/content"  = var.content
    "landfall/revision" = var.revision
    "landfall/nixos"    = var.nixos_version
    "landfall/dokploy"  = var.dokploy_version
  })
}

source "hcloud" "golden" {
  token           = var.token
  location        = var.location
  server_type     = var.server_type
  server_name     = var.server_name
  image           = var.base_image
  rescue          = var.rescue
  snapshot_name   = local.snapshot_name
  snapshot_labels = local.labels
  ssh_username    = "root"
  ssh_port        = var.ssh_port
  ssh_timeout     = var.ssh_timeout
}

build {
  name    = "nixos-dokploy"
  sources = ["source.hcloud.golden"]

  # The installer keeps the addresses and the authorised keys of the system that it replaces, so Packer finds its way back.
  provisioner "shell-local" {
    environment_vars = [
      "TARGET=${build.Host}",
      "TARGET_PORT=${build.Port}",
      "SSH_PRIVATE_KEY=${build.SSHPrivateKey}",
      "FLAKE=${var.flake}#${var.flake_attr}",
      "MOUNT_ROOT=${var.mount_root}",
    ]
    inline = [var.install_command != "" ? var.install_command : "exec '${path.root}/install.sh'"]
  }

  # Last, since Packer's shutdown does not wait until the disk is written.
  provisioner "shell" {
    environment_vars = ["MOUNT_ROOT=${var.mount_root}"]
    script           = "${path.root}/seal.sh"
  }

  post-processor "manifest" {
    output     = var.manifest
    strip_path = true
    custom_data = {
      name    = local.snapshot_name
      content = var.content
    }
  }
}
