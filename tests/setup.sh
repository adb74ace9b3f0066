#!/bin/sh
# Installs what the tests and the demo work with, where it is missing. For Debian and Ubuntu, as root.
set -eu

packages="gcc libc6-dev binutils util-linux iproute2 tar python3 dpkg-dev mmdebstrap debian-archive-keyring skopeo nginx-light openssl \
	dnf zypper rpm createrepo-c gnupg gpgv packer openssh-client openssh-server \
	strace systemd-container qemu-system-x86 genisoimage e2fsprogs docker-registry apache2-utils logrotate"

missing=
for package in $packages; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# Word splitting is meant: one word for each package.
# shellcheck disable=SC2086
install() { apt-get -qq -o DPkg::Lock::Timeout=600 install --yes --no-install-recommends $missing >/dev/null; }
# The lists of a fresh machine or container are empty or old.
install 2>/dev/null || { apt-get -qq update && install; }
