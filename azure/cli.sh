#!/bin/sh
# Puts the extension on a VM, or on a scale set and the VMs it has: `cli.sh vm GROUP NAME` or `cli.sh vmss GROUP NAME`.
set -eu

publisher=${PUBLISHER:-Contoso.Hpc}
settings=$(dirname "$0")/settings.json
# Settings that nobody may read, such as a proxy with its password, as a file of your own.
protected=${PROTECTED_SETTINGS:-}

case ${1:-} in
vm) name=--vm-name ;;
vmss) name=--vmss-name ;;
*)
	echo "usage: $0 vm|vmss GROUP NAME" >&2
	exit 1
	;;
esac

set -- "$1" extension set --resource-group "$2" "$name" "$3" --name InfiniBandDriverLinux \
	--publisher "$publisher" --version 1.0 --settings "$settings"
[ -z "$protected" ] || set -- "$@" --protected-settings "$protected"
az "$@"
if [ "$1" = vmss ]; then
	az vmss update-instances --resource-group "$5" --name "$7" --instance-ids '*'
fi
