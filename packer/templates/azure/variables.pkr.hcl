variable "subscription_id" {
  type    = string
  default = env("ARM_SUBSCRIPTION_ID")
}

# The login: one of four. With none of the next variables set, it is the managed identity of the VM that Packer runs on.
variable "use_azure_cli_auth" {
  type        = bool
  default     = false
  description = "Log in as `az login` has."
}

variable "tenant_id" {
  type    = string
  default = env("ARM_TENANT_ID")
}

variable "client_id" {
  type        = string
  default     = env("ARM_CLIENT_ID")
  description = "The service principal, which needs a secret or OIDC."
}

variable "client_secret" {
  type      = string
  default   = env("ARM_CLIENT_SECRET")
  sensitive = true
}

variable "oidc_request_url" {
  type        = string
  default     = env("ACTIONS_ID_TOKEN_REQUEST_URL")
  description = "OIDC without a secret, as in GitHub Actions with the permission id-token."
}

variable "oidc_request_token" {
  type      = string
  default   = env("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
  sensitive = true
}

variable "location" {
  type    = string
  default = "southcentralus"
}

variable "resource_group" {
  type        = string
  description = "The resource group of the gallery, where the managed image goes as well."
}

variable "gallery" {
  type        = string
  description = "An Azure Compute Gallery that exists, with an image definition for each build here."
}

variable "image_version" {
  type    = string
  default = "1.0.0"
}

variable "managed_image" {
  type        = bool
  default     = true
  description = "Make a managed image, too. Azure makes none of a VM with a security type."
}

variable "source_image" {
  type        = string
  default     = "almalinux"
  description = "The image definition of the gallery that the source `gallery` starts from."
}

variable "source_image_version" {
  type        = string
  default     = ""
  description = "Its version. The newest when not set."
}

variable "vhd_storage_account" {
  type        = string
  default     = ""
  description = "The storage account that the source `vhd` writes to, in the resource group."
}

variable "build_vm_size" {
  type        = string
  default     = "Standard_D4s_v5"
  description = "The size of the VM that builds. It needs no InfiniBand."
}

variable "spot_eviction_policy" {
  type        = string
  default     = ""
  description = "Deallocate or Delete make the VM that builds a spot VM."
}

variable "security_type" {
  type        = string
  default     = ""
  description = "TrustedLaunch or ConfidentialVM. Secure Boot takes the distribution's own driver only: driver = inbox."
}

variable "os_disk_size_gb" {
  type        = number
  default     = 64
  description = "Building a vendor's driver takes some gigabytes."
}

variable "virtual_network" {
  type        = string
  default     = ""
  description = "A network that exists. Packer makes one when not set."
}

variable "virtual_network_subnet" {
  type    = string
  default = ""
}

variable "virtual_network_resource_group" {
  type    = string
  default = ""
}

variable "tags" {
  type    = map(string)
  default = {}
}

variable "vm_sizes" {
  type        = list(string)
  default     = ["Standard_HB120rs_v3", "Standard_HB176rs_v4"]
  description = "The sizes the image is for."
}

variable "driver" {
  type    = string
  default = "auto"
}

variable "cache" {
  type        = string
  default     = "/var/cache/ofedctl"
  description = "The cache on this machine."
}
