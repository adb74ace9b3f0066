#!/bin/sh
# Shows the product on one screen: bakes InfiniBand into a clean Debian 12 root without a network.
# `make demo` builds the program and hands it to this script. Needs root; works in a temporary
# folder only.
set -eu

ofedctl=$(realpath "${1:?usage: tests/demo.sh PROGRAM}")
size=Standard_HB120rs_v3
work=$(mktemp -d "${TMPDIR:-/var/tmp}/ofedctl-demo-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"

heading() { printf '\n== %s\n' "$1"; }

# Runs a command and shows its output only if it fails.
quietly() {
	began=$(date +%s%N)
	"$@" >out 2>err || { cat out err >&2; printf '\nThe demo failed at: %s\n' "$*" >&2; exit 1; }
	took=$((($(date +%s%N) - began) / 10000000))
}

# Shows a command as one would type it, how long it took, and those lines of its result that match.
shown() {
	lines=$1 && shift
	quietly "$@"
	printf '$ %s   (%d.%02d s)\n' "$(echo "$*" | sed "s|$ofedctl|ofedctl|")" $((took / 100)) $((took % 100))
	grep -E "$lines" out | fold -s -w 100 | sed 's/ *$//'
	hidden=$(grep -vcE "$lines" out) || return 0
	echo "     (and $hidden more lines)"
}

# Debian's archive, and the proxy to it, as this machine has them.
mirror=$(apt-get --print-uris update | sed -n "s|^'\(http[^']*/debian\)/dists/.*|\1|p" | head -n 1)
apt-config dump | grep -E '^Acquire::(https?|Check-).*"[^"]+";$' >apt.conf || true

heading "A clean Debian 12 root, as it is before anyone thought of InfiniBand"
quietly mmdebstrap --variant=minbase --include=linux-image-amd64,systemd-sysv,udev,kmod,ca-certificates,zstd \
	--keyring=/usr/share/keyrings/debian-archive-keyring.gpg --aptopt="$work/apt.conf" \
	bookworm root ${mirror:+"deb $mirror bookworm main"}
echo "$(du -sh root | cut -f1), $(find root/var/lib/dpkg/info -name '*.list' | wc -l) packages, made by mmdebstrap in $((took / 100)) s"

heading "What would be done for a $size, and why"
shown . "$ofedctl" plan --root root --vm-size $size

heading "On a machine with a network: fill the cache"
shown . "$ofedctl" stage --root root --vm-size $size --cache cache
echo "the cache is an OCI image layout of $(du -sh cache | cut -f1): $(cd cache && echo *)"

heading "With the network cut: bake"
archive=$(sed -nE 's|.*://([^/]+)/.*|\1|p' root/etc/apt/sources.list | head -n 1)
unshare --net sh -c 'ip -brief link | sed "s/ *<.*//"; getent hosts "$0" || echo "the package archive cannot be reached"' "$archive"
shown . unshare --net "$ofedctl" bake --root root --vm-size $size --cache cache --offline

heading "Prove it, and read back how it went, as the VM agent would"
shown 'mlx5_ib|limits|files of|verified:' "$ofedctl" verify --root root
shown . "$ofedctl" status --root root

heading "Bake again: nothing to do"
shown . unshare --net "$ofedctl" bake --root root --vm-size $size --cache cache --offline
