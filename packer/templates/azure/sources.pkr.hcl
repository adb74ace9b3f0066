# Azure makes no managed image of a VM with a security type; the gallery takes it directly.
locals {
  is_trusted        = var.security_type != ""
  has_managed_image = var.managed_image && var.security_type == ""
}

# Azure's own HPC image brings a driver. The bake finds it and adds nothing to it.
source "azure-arm" "ubuntu-hpc" {
  subscription_id    = var.subscription_id
  use_azure_cli_auth = var.use_azure_cli_auth
  tenant_id          = var.tenant_id
  client_id          = var.client_id
  client_secret      = var.client_secret
  oidc_request_url   = var.oidc_request_url
  oidc_request_token = var.oidc_request_token

  location                            = var.location
  vm_size                             = var.build_vm_size
  os_type                             = "Linux"
  os_disk_size_gb                     = var.os_disk_size_gb
  virtual_network_name                = var.virtual_network
  virtual_network_subnet_name         = var.virtual_network_subnet
  virtual_network_resource_group_name = var.virtual_network_resource_group
  azure_tags                          = var.tags
  ssh_username                        = "packer"
  ssh_pty                             = true
  security_type                       = var.security_type
  secure_boot_enabled                 = local.is_trusted
  vtpm_enabled                        = local.is_trusted

  spot {
    eviction_policy = var.spot_eviction_policy
  }

  image_publisher = "microsoft-dsvm"
  image_offer     = "ubuntu-hpc"
  image_sku       = "2204"

  managed_image_name                = local.has_managed_image ? "ubuntu-hpc-${var.image_version}" : ""
  managed_image_resource_group_name = local.has_managed_image ? var.resource_group : ""

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
  subscription_id    = var.subscription_id
  use_azure_cli_auth = var.use_azure_cli_auth
  tenant_id          = var.tenant_id
  client_id          = var.client_id
  client_secret      = var.client_secret
  oidc_request_url   = var.oidc_request_url
  oidc_request_token = var.oidc_request_token

  location                            = var.location
  vm_size                             = var.build_vm_size
  os_type                             = "Linux"
  os_disk_size_gb                     = var.os_disk_size_gb
  virtual_network_name                = var.virtual_network
  virtual_network_subnet_name         = var.virtual_network_subnet
  virtual_network_resource_group_name = var.virtual_network_resource_group
  azure_tags                          = var.tags
  ssh_username                        = "packer"
  ssh_pty                             = true
  security_type                       = var.security_type
  secure_boot_enabled                 = local.is_trusted
  vtpm_enabled                        = local.is_trusted

  spot {
    eviction_policy = var.spot_eviction_policy
  }

  image_publisher = "almalinux"
  image_offer     = "almalinux-x86_64"
  image_sku       = "9-gen2"

  managed_image_name                = local.has_managed_image ? "almalinux-hpc-${var.image_version}" : ""
  managed_image_resource_group_name = local.has_managed_image ? var.resource_group : ""

  shared_image_gallery_destination {
    subscription        = var.subscription_id
    resource_group      = var.resource_group
    gallery_name        = var.gallery
    image_name          = "almalinux-hpc"
    image_version       = var.image_version
    replication_regions = [var.location]
  }
}

# An image of the gallery, such as one that was hardened before.
source "azure-arm" "gallery" {
  subscription_id    = var.subscription_id
  use_azure_cli_auth = var.use_azure_cli_auth
  tenant_id          = var.tenant_id
  client_id          = var.client_id
  client_secret      = var.client_secret
  oidc_request_url   = var.oidc_request_url
  oidc_request_token = var.oidc_request_token

  location                            = var.location
  vm_size                             = var.build_vm_size
  os_type                             = "Linux"
  os_disk_size_gb                     = var.os_disk_size_gb
  virtual_network_name                = var.virtual_network
  virtual_network_subnet_name         = var.virtual_network_subnet
  virtual_network_resource_group_name = var.virtual_network_resource_group
  azure_tags                          = var.tags
  ssh_username                        = "packer"
  ssh_pty                             = true
  security_type                       = var.security_type
  secure_boot_enabled                 = local.is_trusted
  vtpm_enabled                        = local.is_trusted

  spot {
    eviction_policy = var.spot_eviction_policy
  }

  shared_image_gallery {
    subscription   = var.subscription_id
    resource_group = var.resource_group
    gallery_name   = var.gallery
    image_name     = var.source_image
    image_version  = var.source_image_version
  }

  managed_image_name                = local.has_managed_image ? "gallery-hpc-${var.image_version}" : ""
  managed_image_resource_group_name = local.has_managed_image ? var.resource_group : ""

  shared_image_gallery_destination {
    subscription        = var.subscription_id
    resource_group      = var.resource_group
    gallery_name        = var.gallery
    image_name          = "gallery-hpc"
    image_version       = var.image_version
    replication_regions = [var.location]
  }
}

# A VHD in a storage account, to take elsewhere. Azure makes none of a VM with a security type.
source "azure-arm" "vhd" {
  subscription_id    = var.subscription_id
  use_azure_cli_auth = var.use_azure_cli_auth
  tenant_id          = var.tenant_id
  client_id          = var.client_id
  client_secret      = var.client_secret
  oidc_request_url   = var.oidc_request_url
  oidc_request_token = var.oidc_request_token

  location                            = var.location
  vm_size                             = var.build_vm_size
  os_type                             = "Linux"
  os_disk_size_gb                     = var.os_disk_size_gb
  virtual_network_name                = var.virtual_network
  virtual_network_subnet_name         = var.virtual_network_subnet
  virtual_network_resource_group_name = var.virtual_network_resource_group
  azure_tags                          = var.tags
  ssh_username                        = "packer"
  ssh_pty                             = true

  spot {
    eviction_policy = var.spot_eviction_policy
  }

  image_publisher = "almalinux"
  image_offer     = "almalinux-x86_64"
  image_sku       = "9-gen2"

  resource_group_name    = var.resource_group
  storage_account        = var.vhd_storage_account
  capture_container_name = "images"
  capture_name_prefix    = "almalinux-hpc"
}
