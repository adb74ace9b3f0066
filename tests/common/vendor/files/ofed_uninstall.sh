#!/bin/bash
# Behaves as the vendor's uninstaller on Debian and Ubuntu: 174 when other packages depend on the driver.

force=
for option in "$@"; do
	case $option in
	--force) force=1 ;;
	--keep-mft | --unload-modules) ;;
	--dry-run) exit 0 ;;
	--help | -h) echo "Usage: $0 [--force] [--keep-mft]" && exit 0 ;;
	*) echo "Unsupported option: $option" && exit 1 ;;
	esac
done
if [ -z "$force" ]; then
	printf 'This program will uninstall all MLNX_OFED_LINUX packages on your machine.\nDo you want to continue?[y/N]:'
	read -r answer
	case $answer in [yY]) ;; *) exit 1 ;; esac
fi
ours="mlnx-ofed-all mlnx-ofed-kernel-only srp-dkms isert-dkms iser-dkms mlnx-ofed-kernel-dkms mlnx-ofed-kernel-modules ibverbs-utils libmlx5-1 libibverbs1 rdma-core mlnx-ofed-kernel-utils mlnx-tools ofed-scripts"
list=
for package in $ours; do
	version=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$package" 2>/dev/null) || continue
	case $package:$version in
	rdma-core:installed*mlnx* | libibverbs1:installed*mlnx* | libmlx5-1:installed*mlnx* | ibverbs-utils:installed*mlnx* | *dkms:installed* | *modules:installed* | *utils:installed* | mlnx*:installed* | ofed-scripts:installed*) list="$list $package" ;;
	esac
done
[ -n "$list" ] || exit 0
# shellcheck disable=SC2086
if ! dpkg --purge $list; then
	echo "Error: One or more packages depends on MLNX_OFED_LINUX."
	echo "Those packages should be removed before uninstalling MLNX_OFED_LINUX:"
	echo "To force uninstallation use '--force' flag."
	exit 174
fi
echo "Uninstall finished successfully"
