#!/bin/bash
# Runs the whole path with a real MLNX_OFED bundle of Debian or Ubuntu that a user has, and prints a table:
#   make vendor-check BUNDLE=MLNX_OFED_LINUX-….tgz (or its folder) [ROOT=folder of a root it is made for]
# First by the vendor's own signature: checked, one changed byte refused, the kernel packages installed. Then the whole set,
# both ways. Where ROOT is not given, a Debian 12 that says it is the bundle's distribution takes its place; its kernel may
# be too new for the vendor's sources, and a bundle may lack files, as public copies do. Stand-ins take their places then:
# trivial modules under the vendor's own package scripts, and empty packages, indexed anew and signed by a test key. The
# table says which was which. Needs root; works in a temporary folder only.
set -euo pipefail

ofedctl=$(realpath "${1:?usage: tests/vendor_check.sh PROGRAM BUNDLE [ROOT]}")
bundle=${2:-} given=${3:-}
# Whether modules and absent packages are stood in for: STAND_INS=1 also where there is a ROOT.
stand_ins=${STAND_INS:-$([ -n "$given" ] || echo 1)}
[ -n "$bundle" ] || { echo "vendor-check: not measured: name a bundle with BUNDLE=…"; exit 2; }
bundle=$(realpath "$bundle")
work=$(mktemp -d "${TMPDIR:-/var/tmp}/ofedctl-vendor-check-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
table=$work/table
row() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" | tee -a "$table" >&2; }
row what bundle result time
row --- --- --- ---

# The bundle as a folder and as an archive under the name that its files give it.
if [ -d "$bundle" ]; then cp -a "$bundle" "$work/folder"; else mkdir "$work/folder" && tar -xzf "$bundle" -C "$work/folder" --strip-components=1; fi
version=$(cat "$work/folder/.mlnx") distro=$(cat "$work/folder/distro") arch=$(cat "$work/folder/.arch")
name=MLNX_OFED_LINUX-$version-$distro-$arch
mv "$work/folder" "$work/$name"
pack() { tar -C "$1" --owner=0 --group=0 -czf "$1/$name.tgz" "$name"; }
pack "$work"
set=DEBS
[ -e "$work/$name/DEBS/MLNX_LIBS/Packages" ] && set=DEBS/UPSTREAM_LIBS
[ -e "$work/$name/DEBS/MLNX_LIBS/Packages" ] && [ "${version%%.*}" = 4 ] && set=DEBS/MLNX_LIBS

# A root, and an apt configuration as this machine has it.
if [ -n "$given" ]; then
	cp -a "$(realpath "$given")" "$work/root"
else
	mirror=$(apt-get --print-uris update | sed -n "s|^'\(http[^']*/debian\)/dists/.*|\1|p" | head -n 1)
	apt-config dump | grep -E '^Acquire::(https?|Check-).*"[^"]+";$' >"$work/apt.conf" || true
	mmdebstrap --quiet --variant=minbase --include=linux-image-amd64,linux-image-cloud-amd64,systemd-sysv,udev,kmod,ca-certificates,zstd,lsb-release \
		--keyring=/usr/share/keyrings/debian-archive-keyring.gpg --aptopt="$work/apt.conf" \
		bookworm "$work/root" ${mirror:+"deb $mirror bookworm main"} 2>/dev/null
	rm "$work/root/etc/os-release"
	printf 'ID=%s\nVERSION_ID="%s"\n' "${distro%%[0-9]*}" "${distro##*[a-z]}" >"$work/root/etc/os-release"
fi
mapfile -t kernels < <(find "$work/root/lib/modules" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)

# A catalogue that knows the file's name and nothing else of it.
printf '{"mofed": {"%s": {"%s": {"version": "%s", "sha256": "%064d", "url": "https://content.mellanox.com/ofed/MLNX_OFED-%s/%s.tgz"}}}, "doca": {}}\n' \
	"$distro" "$arch" "$version" 0 "$version" "$name" >"$work/list.json"
"$ofedctl" catalog import "$work/list.json" --out "$work/all.yaml" >/dev/null 2>&1
grep -vE '^ *sha256:' "$work/all.yaml" >"$work/catalog.yaml"
[ -z "$stand_ins" ] || sed -i -E '/^ *kernel_(below|from|min|max):/d; /^ *kernels:/d' "$work/catalog.yaml"

# run NAME KIND EXPECTED… : one command of the program; its reason and its time become a row.
run() {
	local what=$1 kind=$2 wanted=$3 began code=0 reason took && shift 3
	began=$(date +%s%N)
	"$ofedctl" "$@" --json >"$work/out.json" 2>"$work/err" || code=$?
	took=$((($(date +%s%N) - began) / 10000000))
	reason=$(sed -nE 's/^  "reason": "([^"]*)".*/\1/p' "$work/out.json" | head -n 1)
	[ "$reason" = "$wanted" ] && result="$reason (as it should)" || result="$reason, code $code, and not $wanted"
	row "$what" "$kind" "$result" "$(printf '%d.%02d s' $((took / 100)) $((took % 100)))"
	if [ "$reason" != "$wanted" ]; then
		failed=1
		sed -nE 's/^  "message": "(.*)",?$/   \1/p' "$work/out.json" | cut -c1-900 >&2
		cp "$work/out.json" "${TMPDIR:-/var/tmp}/vendor-check-failed.json"
	fi
}
failed=
common=(--catalog "$work/catalog.yaml" --vm-size Standard_HB120rs_v3)
options() { # ROOT ARCHIVE CACHE MORE…
	local root=$1 file=$2 cache=$3 && shift 3
	all=(--root "$root" --cache "$cache" "${common[@]}" --driver mlnx_ofed --set "driver_version=$version" --artifact "$file" "$@")
}
# Inside the image, in namespaces of its own: with a network, and without any.
with_network() { unshare --mount --pid --uts --ipc --fork --kill-child "${isolated[@]}" sh -ec 'mount --bind "$1" "$1"; cd "$1"; mount -t proc proc proc; mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp; mount --rbind /dev dev; root=$1; shift; exec chroot "$root" "$@"' sh "$work/image" "$@"; }
isolated=()
inside() { local isolated=(--net); with_network "$@"; }
fresh() { rm -rf --one-file-system "$work/image"; cp -a "$work/root" "$work/image"; }

# An empty package of a name.
stand_in() { # NAME FOLDER
	local tree=$work/stand-in
	rm -rf "$tree" && mkdir -p "$tree/DEBIAN"
	printf 'Package: %s\nVersion: 9:0\nArchitecture: all\nMaintainer: vendor-check <vendor-check@example.com>\nDescription: stand-in\n' "$1" >"$tree/DEBIAN/control"
	dpkg-deb --build --root-owner-group -Zgzip "$tree" "$2/$1_0_all.deb" >/dev/null
}

# 1. By the vendor's own key, as the bundle is.
first=(--kernel "${kernels[0]}" --set trust=signed --set mlnx_ofed_profile=kernel-only)
fresh
options "$work/image" "$work/$name.tgz" "$work/cache1" "${first[@]}"
run "signature by the vendor's pinned key, stage" real staged stage "${all[@]}"
mkdir "$work/changed" && cp -a "$work/$name" "$work/changed/"
deb=$(find "$work/changed/$name/DEBS" -name 'srp-dkms_*.deb' -type f | head -n 1)
printf X | dd of="$deb" bs=1 seek=300 conv=notrunc status=none
pack "$work/changed"
options "$work/image" "$work/changed/$name.tgz" "$work/cache2" "${first[@]}"
run "one byte of one package changed" "real, changed" digest-mismatch stage "${all[@]}"
rm -rf "$work/changed" "$work/cache2"
options "$work/image" "$work/$name.tgz" "$work/cache1" "${first[@]}"
if [ -n "$stand_ins" ]; then built=dkms-build; else built=installed; fi
run "kernel-only by the vendor's key, bake offline, kernel ${kernels[0]}" real "$built" bake --offline "${all[@]}"
[ -z "$stand_ins" ] || row "packages of it that are left, its sources not being for ${kernels[0]}" real "$(inside dpkg-query -W -f '${db:Status-Status}\n' 'mlnx-ofed-*' '*-dkms' knem ofed-scripts 2>/dev/null | grep -c '^installed' || true)" "-"

# 2. The whole set; with stand-ins where something cannot be had here.
kind=real
absent=$(cd "$work/$name/$set" && sed -n 's/^Filename: //p' Packages | while read -r file; do [ -e "$file" ] || echo "$file"; done)
if [ -n "$absent" ] || [ -n "$stand_ins" ]; then
	kind="real, with stand-ins"
	# An empty package for each that is absent, with the real one's own words of itself.
	for file in $absent; do
		tree=$work/stand-in && rm -rf "$tree" && mkdir -p "$tree/DEBIAN"
		awk -v RS= -v file="Filename: $file" 'index($0, file)' "$work/$name/$set/Packages" |
			grep -vE '^(Filename|Size|MD5sum|SHA1|SHA256|SHA512):' | grep -E '^(Package|Version|Architecture|Maintainer|Description|Section|Priority): ' >"$tree/DEBIAN/control"
		at=$work/$name/$set/$file
		[ -L "$at" ] && at=$(readlink -m "$at")
		dpkg-deb --build --root-owner-group -Zgzip "$tree" "$at" >/dev/null
	done
fi
if [ -n "$stand_ins" ]; then
	# Trivial modules, under the real packages' own names and scripts.
	trivial() {
		local package=$1 deb tree source conf number=0 && shift
		deb=$(find "$work/$name/DEBS/" -name "${package}_*.deb" -type f | head -n 1)
		[ -n "$deb" ] || return 0
		tree=$work/trivial && rm -rf "$tree" && dpkg-deb -R "$deb" "$tree"
		source=$(dirname "$(find "$tree/usr/src" -maxdepth 2 -name dkms.conf | head -n 1)")
		conf=$(basename "$source")
		find "$source" -mindepth 1 ! -path '*/ofed_scripts' ! -name 'common.postinst' -delete 2>/dev/null || true
		printf 'PACKAGE_NAME="%s"\nPACKAGE_VERSION="%s"\nAUTOINSTALL="yes"\n' "${conf%-[0-9]*}" "${conf##*-}" >"$source/dkms.conf"
		: >"$source/Makefile"
		for module in "$@"; do
			printf 'BUILT_MODULE_NAME[%d]="%s"\nDEST_MODULE_LOCATION[%d]="/updates"\n' $number "$module" $number >>"$source/dkms.conf"
			echo "obj-m += $module.o" >>"$source/Makefile"
			printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_DESCRIPTION("%s");\n' "$module" >"$source/$module.c"
			number=$((number + 1))
		done
		rm -f "$tree/DEBIAN/md5sums"
		dpkg-deb --build --root-owner-group -Zgzip "$tree" "$deb" >/dev/null
	}
	trivial mlnx-ofed-kernel-dkms mlx_compat ib_core mlx5_core mlx5_ib ib_uverbs ib_umad rdma_ucm ib_ipoib
	trivial iser-dkms ib_iser && trivial isert-dkms ib_isert && trivial srp-dkms ib_srp && trivial knem-dkms knem
	trivial kernel-mft-dkms mst_pci && trivial mlnx-rdma-rxe-dkms rdma_rxe && trivial rshim-dkms rshim && trivial mlnx-nvme-dkms nvme_rdma
fi
more=()
if [ "$kind" != real ]; then
	# What the bundle's distribution has, and Debian 12 has not.
	for need in libssl1.1; do
		[ -n "$(with_network apt-cache show "$need" 2>/dev/null)" ] || stand_in "$need" "$work/$name/$set"
	done
	export GNUPGHOME=$work/gnupg && mkdir -m 700 "$GNUPGHOME"
	gpg --batch --quiet --passphrase '' --quick-gen-key vendor-check@example.com rsa2048 sign never 2>/dev/null
	gpg --armor --export >"$work/key.asc"
	(cd "$work/$name/$set" && dpkg-scanpackages --multiversion . >Packages 2>/dev/null && rm -f Packages.* Release Release.gpg &&
		printf 'Date: %s\nSHA256:\n %s %s Packages\n' "$(LC_ALL=C date -u '+%a, %d %b %Y %T UTC')" "$(sha256sum <Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >Release &&
		gpg --batch --quiet --armor --output Release.gpg --detach-sign Release)
	gpgconf --kill gpg-agent
	more=(--set "vendor_key=$work/key.asc")
	pack "$work"
fi
whole() { options "$work/image" "$work/$name.tgz" "$work/cache3" --set trust=signed "${more[@]}" "$@"; }
tree() { (cd "$1" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./var/log -o -path ./var/lib/ofedctl -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/lib/dkms \) -prune -o \( -type f -o -type l \) -printf '%p %s %l\n' | sort); }
fresh
tree "$work/image" >"$work/before"
whole --kernel "${kernels[0]}"
run "the whole set, stage" "$kind" staged stage "${all[@]}"
run "the whole set, bake offline, one kernel" "$kind" installed bake --offline "${all[@]}"
run "verify" "$kind" verified verify --root "$work/image"
run "bake again" "$kind" already-installed bake --offline "${all[@]}"
if [ "${#kernels[@]}" -gt 1 ]; then
	whole
	run "stage for ${#kernels[@]} kernels" "$kind" staged stage "${all[@]}"
	run "bake offline, ${#kernels[@]} kernels" "$kind" installed bake --offline "${all[@]}"
	run "verify, ${#kernels[@]} kernels" "$kind" verified verify --root "$work/image"
fi
run uninstall "$kind" uninstalled uninstall --root "$work/image"
tree "$work/image" >"$work/after"
left=$(diff "$work/before" "$work/after" | grep -c '^[<>]' || true)
row "the root as before: files that differ" "$kind" "$left" "-"
diff "$work/before" "$work/after" | head -n "${SHOW:-12}" >&2 || true

# 3. The same by the vendor's own installer.
fresh
whole --kernel "${kernels[0]}" --set trust=first-use --set mlnx_ofed_installer=true --set "sha256=$(sha256sum "$work/$name.tgz" | cut -d' ' -f1)"
run "by mlnxofedinstall, stage" "$kind" staged stage "${all[@]}"
if [ -e "$work/$name"/src/MLNX_OFED_SRC-"$version".tgz ]; then wanted=installed; else wanted=wrong-package; fi
run "by mlnxofedinstall, bake offline" "$kind" "$wanted" bake --offline "${all[@]}"

# 4. Time: the user space of the set in one transaction of apt, and by mlnxofedinstall, each with all its needs at hand.
rm -rf "$work/root/opt/$name" && cp -a "$work/$name" "$work/root/opt/$name"
printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d" && chmod 755 "$work/root/usr/sbin/policy-rc.d"
mv "$work/root" "$work/image.base" && rm -rf "$work/image" && mv "$work/image.base" "$work/image"
cp /etc/resolv.conf "$work/image/etc/" 2>/dev/null || true
cp "$work/apt.conf" "$work/image/etc/apt/apt.conf.d/99check" 2>/dev/null || true
needs=$(with_network sh -c "cd /opt/$name && apt-get -qq update >/dev/null 2>&1; apt-get -qq -y install perl libfile-find-rule-perl procps >/dev/null 2>&1; ./mlnxofedinstall --check-deps-only --user-space-only --without-dkms --skip-distro-check --force 2>/dev/null" | sed -n 's/^apt-get install //p' || true)
needs=$(printf '%s' "$needs" | sed 's/\x1b\[[0-9;]*m//g')
row "packages that --check-deps-only names" "$kind" "$(echo "$needs" | wc -w)" "-"
# What it names and the root's archive has not: empty packages of these names, in the set that both sides install from.
added=
for need in $needs; do
	if ! with_network apt-cache policy "$need" 2>/dev/null | grep -q 'Candidate: [^(]'; then
		stand_in "$need" "$work/image/opt/$name/$set" && added="$added $need"
	fi
done
if [ -n "$added" ]; then
	(cd "$work/image/opt/$name/$set" && dpkg-scanpackages --multiversion . >Packages 2>/dev/null && rm -f Packages.* Release Release.gpg)
	row "of these stood in for by empty packages:$added" "$kind" "$(echo "$added" | wc -w)" "-"
fi
printf 'deb [trusted=yes] file:/opt/%s/%s ./\n' "$name" "$set" >"$work/image/etc/apt/sources.list.d/vendor.list"
with_network sh -c "apt-get -qq update; apt-get -qq -y install --no-install-recommends $needs build-essential lsb-release apt-utils; apt-get -qq -y --download-only install mlnx-ofed-all-user-only" >/dev/null 2>&1 || true
cp -a "$work/image" "$work/image2"
seconds() { local began code=0; began=$(date +%s%N); "$@" >"$work/timed.log" 2>&1 || code=$?; took=$((($(date +%s%N) - began) / 10000000)); [ $code = 0 ] || { tail -n 5 "$work/timed.log" >&2; took=0; }; }
seconds inside apt-get -y --no-install-recommends -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io install mlnx-ofed-all-user-only
ours=$took
rm -rf --one-file-system "$work/image" && mv "$work/image2" "$work/image"
seconds inside sh -c "cd /opt/$name && ./mlnxofedinstall --user-space-only --without-dkms --without-fw-update --skip-distro-check --force"
theirs=$took
if [ "$ours" -gt 0 ] && [ "$theirs" -gt 0 ]; then
	row "user space: one transaction" "$kind" "" "$(printf '%d.%02d s' $((ours / 100)) $((ours % 100)))"
	row "user space: mlnxofedinstall --without-dkms" "$kind" "" "$(printf '%d.%02d s' $((theirs / 100)) $((theirs % 100)))"
	[ $((ours * 10)) -le $((theirs * 6)) ] && held="as it should" || { held="more than 60 %" && failed=1; }
	row "the first against the second (at most 60 %)" "$kind" "$((ours * 100 / theirs)) % ($held)" "-"
else
	row "time against mlnxofedinstall" "$kind" "not measured: one of the two failed" "-"
fi
echo
column -t -s '|' -o '|' "$table"
[ -z "$failed" ]
