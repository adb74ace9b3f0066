packer {
  required_plugins {
    azure = {
      source  = "github.com/hashicorp/azure"
      version = ">= 2.0.0"
    }
    ofed = {
      source  = "github.com/ofedctl/ofed"
      version = ">= 0.1.0"
    }
  }
}
