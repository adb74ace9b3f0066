#!/bin/bash
# Behaves as the vendor's uninstaller on rpm distributions: it asks nobody's leave with --force, and takes out what the
# driver brought whatever needs it.

case $1 in
--force) ;;
*) echo "This program will uninstall all MLNX_OFED_LINUX packages on your machine." && exit 1 ;;
esac
list=$(rpm -qa --qf '%{NAME} %{VERSION}\n' | grep -E '^(mlnx-ofed-all|mlnx-ofa_kernel|kmod-mlnx-ofa_kernel|ofed-scripts|(iser|isert|srp)-dkms|(rdma-core|libibverbs) 25$)')
[ -n "$list" ] || exit 0
# shellcheck disable=SC2046
rpm -e --allmatches --nodeps $(echo "$list" | cut -d' ' -f1) || exit 1
echo "Uninstall finished successfully"
