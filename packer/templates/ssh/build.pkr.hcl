# A machine that runs already, and is captured by other means afterwards.
variable "host" {
  type = string
}

variable "port" {
  type    = number
  default = 22
}

variable "user" {
  type    = string
  default = "root"
}

variable "ssh_private_key_file" {
  type = string
}

variable "vm_size" {
  type    = string
  default = "Standard_HB120rs_v3"
}

variable "cache" {
  type    = string
  default = "/var/cache/ofedctl"
}

source "null" "machine" {
  communicator         = "ssh"
  ssh_host             = var.host
  ssh_port             = var.port
  ssh_username         = var.user
  ssh_private_key_file = var.ssh_private_key_file
}

build {
  sources = ["source.null.machine"]

  provisioner "ofed" {
    vm_size          = var.vm_size
    cache            = var.cache
    generalize       = true
    output_directory = "records"
  }
}
