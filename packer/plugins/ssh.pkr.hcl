packer {
  required_plugins {
    ofed = {
      source  = "github.com/ofedctl/ofed"
      version = ">= 0.1.0"
    }
  }
}
