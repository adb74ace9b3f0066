packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.0.0"
    }
    ofed = {
      source  = "github.com/ofedctl/ofed"
      version = ">= 0.1.0"
    }
  }
}
