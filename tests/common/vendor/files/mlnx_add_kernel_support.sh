#!/bin/bash
# Behaves as the vendor's script that rebuilds the kernel packages of an MLNX_OFED folder for one kernel and packs
# the whole anew.

tmp=${TMP:-/tmp} folder= kernel=$(uname -r) sources= name= 
while [ $# -gt 0 ]; do
	case $1 in
	-m | --mlnx_ofed) folder=$2 && shift ;;
	-k | --kernel) kernel=$2 && shift ;;
	-s | --kernel-sources) sources=$2 && shift ;;
	-n | --name) name=$2 && shift ;;
	--distro) shift ;;
	--make-tgz | -y | --yes | --force | --skip-repo | --without-*) ;;
	*) echo "Usage: $(basename "$0") -m <path to MLNX_OFED directory>" && exit 1 ;;
	esac
	shift
done
logs=$tmp/mlnx_iso.$$_logs
log=$logs/mlnx_ofed_iso.$$.log
work=$tmp/mlnx_iso.$$
mkdir -p "$logs" "$work"
echo "Note: This program will create MLNX_OFED_LINUX TGZ under $tmp directory."
echo "See log file $log"

free=$(df -Pk "$tmp" | awk 'END {print $4}')
if [ "$free" -lt 61440 ]; then
	echo "ERROR: Not enough disk space in the $tmp directory. Required 614400KB"
	exit 1
fi
for deb in $(find "$folder/DEBS" -name 'mlnx-ofed-kernel-modules_*.deb'); do
	dpkg --contents "$deb" | grep -q "lib/modules/$kernel/" && exit 30
done

fail() { printf '\033[31mERROR: %s\033[0m\n' "$*"; }
run() {
	"$@" >>"$log" 2>&1 && return
	echo
	fail "Failed executing \"$*\""
	fail "See $log"
	exit 1
}
# The program that builds packages keeps a log of each, one folder deeper, and names it in its own output alone. Before that it
# notes what it would like to have.
deeper=$logs/OFED.$$.logs
build() {
	mkdir -p "$deeper"
	printf '\033[31mError: One or more required packages for installing OFED-internal are missing.\033[0m\n' >>"$log"
	echo "Attempting to install the following missing packages:" >>"$log"
	"$@" >>"$deeper/mlnx-ofed-kernel.debbuild.log" 2>&1 && return
	{
		printf '\033[31mFailed to build mlnx-ofed-kernel DEB\033[0m\n'
		printf '\033[31mSee %s\033[0m\n' "$deeper/mlnx-ofed-kernel.debbuild.log"
	} >>"$log"
	fail "Failed executing \"install.pl --build-only\""
	fail "See $log"
	exit 1
}
if [ ! -d "$sources" ]; then
	fail "$sources: the kernel sources are not there" | tee -a "$log"
	exit 1
fi
run tar -xzf "$folder"/src/MLNX_OFED_SRC-*.tgz -C "$work"
run tar -xzf "$work"/MLNX_OFED_SRC-*/SOURCES/mlnx-ofed-kernel_*.tar.gz -C "$work"
cd "$work"/mlnx-ofed-kernel-* || exit 1
build sh ofed_scripts/pre_build.sh "$kernel"
build make -C "$sources" M="$PWD" modules

package=$work/package
mkdir -p "$package/DEBIAN" "$package/lib/modules/$kernel/updates/dkms"
run cp ./*.ko "$package/lib/modules/$kernel/updates/dkms/"
version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
cat >"$package/DEBIAN/control" <<END
Package: mlnx-ofed-kernel-modules
Version: $version.kver.$kernel
Architecture: $(dpkg --print-architecture)
Depends: ofed-scripts, mlnx-ofed-kernel-utils, kmod
Maintainer: Tests <tests@example.com>
Description: mlnx-ofed kernel modules
END
printf '#!/bin/sh\nset -e\ndepmod %s\n' "$kernel" | tee "$package/DEBIAN/postinst" >"$package/DEBIAN/postrm"
chmod 755 "$package/DEBIAN/postinst" "$package/DEBIAN/postrm"

run mkdir "$work/$name"
run cp -a "$folder/." "$work/$name/"
debs=$(dirname "$(find "$work/$name/DEBS" -name 'mlnx-ofed-kernel-dkms_*.deb' -not -type l | head -n 1)")
find "$work/$name/" -name '*-dkms_*.deb' -delete
run dpkg-deb --build --root-owner-group -Zgzip "$package" "$debs/mlnx-ofed-kernel-modules_$version.kver.${kernel}_$(dpkg --print-architecture).deb"
run tar -czf "$tmp/$name.tgz" -C "$work" "$name"
echo "Created $tmp/$name.tgz"
rm -rf "$work"
