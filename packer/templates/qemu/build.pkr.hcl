source "qemu" "cloud" {
  iso_url          = var.image
  iso_checksum     = var.image_checksum
  disk_image       = true
  disk_size        = "10G"
  format           = "qcow2"
  accelerator      = var.accelerator
  headless         = true
  output_directory = "image"
  vm_name          = "hpc.qcow2"

  # cloud-init's NoCloud source, on a CD-ROM.
  cd_files = ["${var.seed}/meta-data", "${var.seed}/user-data"]
  cd_label = "cidata"

  communicator         = "ssh"
  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "10m"
  shutdown_command     = "sudo shutdown -P now"
}

build {
  sources = ["source.qemu.cloud"]

  provisioner "ofed" {
    vm_size          = var.vm_size
    cache            = var.cache
    stage            = true
    generalize       = true
    output_directory = "records"
  }
}
