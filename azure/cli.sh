#!/bin/sh
# Puts the extension on a VM, or on a scale set and the VMs it has: `cli.sh vm GROUP NAME` or `cli.sh vmss GROUP NAME`.
# Shows how it ended: `cli.sh status GROUP VM`.
set -eu

publisher=${PUBLISHER:-Contoso.Hpc}
# Never leave the settings out: without them the agent reads no status.
settings=$(dirname "$0")/settings.json
# Settings that nobody may read, such as a proxy with its password, as a file of your own.
protected=${PROTECTED_SETTINGS:-}

usage() {
	echo "usage: $0 vm|vmss|status GROUP NAME" >&2
	exit 1
}
[ $# = 3 ] || usage
kind=$1 group=$2 name=$3

set_extension() {
	set -- extension set --resource-group "$group" "$1" "$name" --name InfiniBandDriverLinux \
		--publisher "$publisher" --version 1.0 --settings "$settings"
	[ -z "$protected" ] || set -- "$@" --protected-settings "$protected"
	az "$kind" "$@"
}

case $kind in
vm)
	set_extension --vm-name
	;;
vmss)
	set_extension --vmss-name
	# Where the set's upgrade policy is `Manual`, its VMs have to be told.
	az vmss update-instances --resource-group "$group" --name "$name" --instance-ids '*'
	;;
status)
	az vm extension list --resource-group "$group" --vm-name "$name" --output table
	az vm extension show --resource-group "$group" --vm-name "$name" --name InfiniBandDriverLinux --instance-view \
		--query 'instanceView.{statuses: statuses[].message, steps: substatuses[].message}'
	;;
*) usage ;;
esac
