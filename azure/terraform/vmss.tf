# The extension on a scale set that Terraform has. Its VMs get it with their next upgrade. Change the publisher to yours.

variable "virtual_machine_scale_set_id" {
  type        = string
  description = "A scale set of a size with InfiniBand, such as azurerm_linux_virtual_machine_scale_set.nodes.id."
}

variable "publisher" {
  type        = string
  default     = "Contoso.Hpc"
  description = "The publisher the handler is registered under."
}

variable "protected_settings" {
  type        = map(any)
  default     = {}
  sensitive   = true
  description = "Settings that nobody may read, such as a proxy with its password."
}

resource "azurerm_virtual_machine_scale_set_extension" "infiniband" {
  name                         = "InfiniBandDriverLinux"
  virtual_machine_scale_set_id = var.virtual_machine_scale_set_id
  publisher                    = var.publisher
  type                         = "InfiniBandDriverLinux"
  type_handler_version         = "1.0"
  auto_upgrade_minor_version   = true
  automatic_upgrade_enabled    = false

  # Never leave this out: without settings the agent reads no status.
  settings = jsonencode({
    driver              = "auto"
    cache               = "/var/cache/ofedctl"
    offline             = false
    ipoib               = true
    reboot              = "report"
    remove_on_uninstall = false
  })

  protected_settings = jsonencode(var.protected_settings)

  # Extensions of the set that must be there first.
  provision_after_extensions = []
}
