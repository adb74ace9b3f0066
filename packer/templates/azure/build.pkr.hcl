build {
  sources = [
    "source.azure-arm.ubuntu-hpc",
    "source.azure-arm.almalinux",
    "source.azure-arm.gallery",
    "source.azure-arm.vhd",
  ]

  provisioner "ofed" {
    vm_sizes         = var.vm_sizes
    driver           = var.driver
    cache            = var.cache
    stage            = true
    output_directory = "ofed-${build.name}"
  }

  # The machine boots the kernel that the modules are for. The connection ends with it.
  provisioner "shell" {
    execute_command   = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    expect_disconnect = true
    skip_clean        = true
    inline            = ["reboot"]
  }

  # A bake with nothing to do: it verifies what is there, after the reboot. What is in place needs no cache.
  provisioner "ofed" {
    pause_before = "30s"
    vm_sizes     = var.vm_sizes
    driver       = var.driver
    cache        = var.cache
    generalize   = true
  }

  # The last step of every Azure image, as packer-plugin-azure writes it: nobody logs in after it.
  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    inline          = ["/usr/sbin/waagent -force -deprovision+user && export HISTSIZE=0 && sync"]
    inline_shebang  = "/bin/sh -x"
    skip_clean      = true
  }
}
