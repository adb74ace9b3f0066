# Without a plugin: the program and a bundle go up as files, and a script runs them.
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

variable "ofedctl" {
  type        = string
  description = "The program: a static build for the machine's architecture."
}

variable "reboot" {
  type        = bool
  default     = false
  description = "Boot the machine again after the bake."
}

variable "bundle" {
  type        = string
  description = "A file made by `ofedctl cache export --out FILE`."
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

  provisioner "file" {
    source      = var.ofedctl
    destination = "/var/tmp/ofedctl"
  }

  provisioner "file" {
    source      = var.bundle
    destination = "/var/tmp/ofed-bundle.tar"
  }

  # What root installs from must belong to root. Exit codes are those that `ofedctl explain` lists. 13 is a size without InfiniBand: no reason to fail here.
  provisioner "shell" {
    execute_command  = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    environment_vars = ["VM_SIZE=${var.vm_size}"]
    valid_exit_codes = [0, 13]
    inline = [
      "chmod +x /var/tmp/ofedctl",
      "chown root:root /var/tmp/ofedctl /var/tmp/ofed-bundle.tar",
      "/var/tmp/ofedctl bake --root / --vm-size \"$VM_SIZE\" --cache /var/tmp/ofed-bundle.tar --offline",
    ]
  }

  # Optional: boot the newest kernel, for what later steps build against it. The connection ends with it.
  provisioner "shell" {
    execute_command   = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    expect_disconnect = true
    skip_clean        = true
    inline            = ["if ${var.reboot}; then reboot; fi"]
  }

  # After a lost connection nothing is taken for granted: a bake with nothing to do says so. What was uploaded goes.
  provisioner "shell" {
    execute_command     = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    environment_vars    = ["VM_SIZE=${var.vm_size}"]
    start_retry_timeout = "10m"
    valid_exit_codes    = [0, 13]
    inline = [
      "trap 'rm -f /var/tmp/ofedctl /var/tmp/ofed-bundle.tar' EXIT",
      "/var/tmp/ofedctl bake --root / --vm-size \"$VM_SIZE\" --cache /var/tmp/ofed-bundle.tar --offline || exit $?",
      "/var/tmp/ofedctl generalize --root /",
    ]
  }
}
