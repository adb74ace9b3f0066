variable "image" {
  type        = string
  description = "A cloud image to start from: a file or an address, such as that of Debian's genericcloud image."
}

variable "image_checksum" {
  type        = string
  description = "Its digest, such as sha512:…, or file:… for a list of them."
}

variable "vm_size" {
  type    = string
  default = "Standard_HB120rs_v3"
}

variable "cache" {
  type        = string
  default     = "/var/cache/ofedctl"
  description = "The cache on this machine."
}

variable "ssh_username" {
  type    = string
  default = "debian"
}

variable "ssh_private_key_file" {
  type        = string
  description = "The key whose public half is in the cloud-init user data."
}

variable "seed" {
  type        = string
  description = "A folder with cloud-init's meta-data and user-data: the user's public key, at least."
}

variable "accelerator" {
  type    = string
  default = "kvm"
}
