# Puts the extension on a VM, or on a scale set and the VMs it has, and shows how it ended:
#   ./powershell.ps1 -Kind vm -ResourceGroupName GROUP -Name NAME
#   ./powershell.ps1 -Kind vmss -ResourceGroupName GROUP -Name NAME
param(
    [Parameter(Mandatory)] [ValidateSet('vm', 'vmss')] [string] $Kind,
    [Parameter(Mandatory)] [string] $ResourceGroupName,
    [Parameter(Mandatory)] [string] $Name,
    [string] $Publisher = 'Contoso.Hpc'
)
$ErrorActionPreference = 'Stop'

# Never leave the settings out: without them the agent reads no status.
$settings = Get-Content -Raw -Path (Join-Path $PSScriptRoot 'settings.json')

if ($Kind -eq 'vm') {
    $vm = Get-AzVM -ResourceGroupName $ResourceGroupName -Name $Name
    Set-AzVMExtension -ResourceGroupName $ResourceGroupName -VMName $Name -Location $vm.Location -Name 'InfiniBandDriverLinux' -Publisher $Publisher -ExtensionType 'InfiniBandDriverLinux' -TypeHandlerVersion '1.0' -SettingString $settings
    $extension = Get-AzVMExtension -ResourceGroupName $ResourceGroupName -VMName $Name -Name 'InfiniBandDriverLinux' -Status
    $extension.Statuses | Format-List Code, Message
    $extension.SubStatuses | Format-Table Code, Message
}
else {
    $set = Get-AzVmss -ResourceGroupName $ResourceGroupName -VMScaleSetName $Name
    Add-AzVmssExtension -VirtualMachineScaleSet $set -Name 'InfiniBandDriverLinux' -Publisher $Publisher -Type 'InfiniBandDriverLinux' -TypeHandlerVersion '1.0' -AutoUpgradeMinorVersion $true -Setting (ConvertFrom-Json -AsHashtable $settings)
    Update-AzVmss -ResourceGroupName $ResourceGroupName -VMScaleSetName $Name -VirtualMachineScaleSet $set
    # Where the set's upgrade policy is `Manual`, its VMs are told one by one.
    foreach ($node in Get-AzVmssVM -ResourceGroupName $ResourceGroupName -VMScaleSetName $Name) {
        Update-AzVmssInstance -ResourceGroupName $ResourceGroupName -VMScaleSetName $Name -InstanceId $node.InstanceId
    }
}
