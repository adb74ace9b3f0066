# Azure's own HPC image brings a driver. The bake finds it and adds nothing to it.
source "azure-arm" "ubuntu-hpc" {
  subscription_id = var.subscription_id
  tenant_id       = var.tenant_id
  client_id       = var.client_id
  client_secret   = var.client_secret

  location        = var.location
  vm_size         = var.build_vm_size
  os_type         = "Linux"
  image_publisher = "microsoft-dsvm"
  image_offer     = "ubuntu-hpc"
  image_sku       = "2204"
  ssh_username    = "packer"

  managed_image_name                = "ubuntu-hpc-${var.image_version}"
  managed_image_resource_group_name = var.resource_group

  shared_image_gallery_destination {
    subscription        = var.subscription_id
    resource_group      = var.resource_group
    gallery_name        = var.gallery
    image_name          = "ubuntu-hpc"
    image_version       = var.image_version
    replication_regions = [var.location]
  }
}

# A plain AlmaLinux, which becomes an HPC image here.
source "azure-arm" "almalinux" {
  subscription_id = var.subscription_id
  tenant_id       = var.tenant_id
  client_id       = var.client_id
  client_secret   = var.client_secret

  location        = var.location
  vm_size         = var.build_vm_size
  os_type         = "Linux"
  image_publisher = "almalinux"
  image_offer     = "almalinux-x86_64"
  image_sku       = "9-gen2"
  ssh_username    = "packer"

  managed_image_name                = "almalinux-hpc-${var.image_version}"
  managed_image_resource_group_name = var.resource_group

  shared_image_gallery_destination {
    subscription        = var.subscription_id
    resource_group      = var.resource_group
    gallery_name        = var.gallery
    image_name          = "almalinux-hpc"
    image_version       = var.image_version
    replication_regions = [var.location]
  }
}
