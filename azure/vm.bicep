@description('An existing VM of a size with InfiniBand.')
param vmName string

@description('The publisher the handler is registered under.')
param publisher string = 'Contoso.Hpc'

@description('The first two numbers of the handler\'s version.')
param typeHandlerVersion string = '1.0'

@description('Settings that nobody may read, such as a proxy with its password.')
@secure()
param protectedSettings object = {}

resource vm 'Microsoft.Compute/virtualMachines@2023-09-01' existing = {
  name: vmName
}

resource infiniBand 'Microsoft.Compute/virtualMachines/extensions@2023-09-01' = {
  parent: vm
  name: 'InfiniBandDriverLinux'
  location: resourceGroup().location
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
