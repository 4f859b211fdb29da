# Alone in this file: a Packer older than 1.7 has the plugin built in, does not know this block, and can use the template without it.
packer {
  required_plugins {
    hcloud = {
      source  = "github.com/hetznercloud/hcloud"
      version = ">= 1.7.2"
    }
  }
}
