build {
  sources = [
    "source.azure-arm.ubuntu-hpc",
    "source.azure-arm.almalinux",
  ]

  provisioner "ofed" {
    vm_sizes         = var.vm_sizes
    driver           = var.driver
    cache            = var.cache
    stage            = true
    generalize       = true
    output_directory = "ofed-${build.name}"
  }

  # The last step of every Azure image: nobody logs in after it.
  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    inline          = ["waagent -force -deprovision+user && sync"]
    inline_shebang  = "/bin/sh -x"
    skip_clean      = true
  }
}
