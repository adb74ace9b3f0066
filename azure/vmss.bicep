@description('An existing scale set of a size with InfiniBand. Its VMs get the extension with their next upgrade.')
param scaleSetName string

@description('The publisher the handler is registered under.')
param publisher string = 'Contoso.Hpc'

@description('The first two numbers of the handler\'s version.')
param typeHandlerVersion string = '1.0'

@description('Settings that nobody may read, such as a proxy with its password.')
@secure()
param protectedSettings object = {}

resource scaleSet 'Microsoft.Compute/virtualMachineScaleSets@2023-09-01' existing = {
  name: scaleSetName
}

resource infiniBand 'Microsoft.Compute/virtualMachineScaleSets/extensions@2023-09-01' = {
  parent: scaleSet
  name: 'InfiniBandDriverLinux'
  properties: {
    publisher: publisher
    type: 'InfiniBandDriverLinux'
    typeHandlerVersion: typeHandlerVersion
    autoUpgradeMinorVersion: true
    enableAutomaticUpgrade: false
    settings: {
      driver: 'auto'
      cache: '/var/cache/ofedctl'
      offline: false
      ipoib: true
      reboot: 'report'
      remove_on_uninstall: false
    }
    protectedSettings: protectedSettings
  }
}
