integration {
  name        = "ofed"
  description = "Installs and proves an InfiniBand driver in images for Azure HPC VMs, offline."
  identifier  = "packer/ofedctl/ofed"
  docs {
    process_docs    = true
    readme_location = "./README.md"
  }
  license {
    type = "MIT"
  }
  component {
    type = "provisioner"
    name = "ofed"
    slug = "ofed"
  }
}
