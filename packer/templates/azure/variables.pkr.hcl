variable "subscription_id" {
  type = string
}

variable "tenant_id" {
  type = string
}

variable "client_id" {
  type = string
}

variable "client_secret" {
  type      = string
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

variable "build_vm_size" {
  type        = string
  default     = "Standard_D4s_v5"
  description = "The size of the VM that builds. It needs no InfiniBand."
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
