#!/bin/sh
# Kills the released program at many moments of a bake and of an uninstall, as a power cut does, and compares the root
# with one that saw no kill. Needs root and some minutes; `make torture` builds the program and hands it to this script.
# The moments are spread over the time that a calm run takes, so that no build with fault points is needed.
set -eu

ofedctl=$(realpath "${1:?usage: tests/torture.sh PROGRAM [KILLS]}")
kills=${2:-20}
size=Standard_HB120rs_v3
work=$(mktemp -d "${TMPDIR:-/var/tmp}/ofedctl-torture-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"

mirror=$(apt-get --print-uris update | sed -n "s|^'\(http[^']*/debian\)/dists/.*|\1|p" | head -n 1)
apt-config dump | grep -E '^Acquire::(https?|Check-).*"[^"]+";$' >apt.conf || true
mmdebstrap --quiet --variant=minbase --include=linux-image-amd64,systemd-sysv,udev,kmod,ca-certificates,zstd \
	--keyring=/usr/share/keyrings/debian-archive-keyring.gpg --aptopt="$work/apt.conf" \
	bookworm clean ${mirror:+"deb $mirror bookworm main"}
echo '# OS.EnableRDMA=y' >clean/etc/waagent.conf
"$ofedctl" --quiet stage --root clean --vm-size $size --cache cache >/dev/null

bake() { "$ofedctl" --quiet bake --root "$1" --vm-size $size --cache cache --offline >>log 2>&1; }
uninstall() { "$ofedctl" --quiet uninstall --root "$1" >>log 2>&1; }

# What two runs that did the same may differ in: logs, times, and the order of a package manager's records.
tree() {
	(cd "$1" && find . -xdev \( -path ./var/log -o -path ./var/lib/ofedctl -o -path ./var/cache/ldconfig -o -path ./proc \
		-o -path ./var/lib/dpkg/status-old -o -path ./var/lib/apt/extended_states -o -path ./var/lib/dpkg/status \) -prune \
		-o -printf '%p %y %m %U:%G %l\n' -type f -exec sha256sum {} + | LC_ALL=C sort)
}
records() { sed 's/^$/\x1e/' "$1/var/lib/dpkg/status" | tr '\n\036' '\001\n' | LC_ALL=C sort; }

cp -a clean calm
began=$(date +%s%N)
bake calm
whole=$((($(date +%s%N) - began) / 1000000))
echo "a calm bake takes $whole ms; killing $kills bakes and $kills uninstalls"
tree calm >calm.tree
records calm >calm.records

killed=0
cp -a clean shaken
for round in $(seq 1 "$kills"); do
	# A root that is done already begins again, so that early moments are tried as well as late ones.
	bake_ms=$((whole * round / kills))
	timeout --signal=KILL "$(awk "BEGIN { print $bake_ms / 1000 }")" "$ofedctl" --quiet bake --root shaken --vm-size $size \
		--cache cache --offline >>log 2>&1 && ended=0 || ended=$?
	[ "$ended" != 137 ] || killed=$((killed + 1))
done
bake shaken || { tail -n 20 log; echo "the bake after $killed kills failed"; exit 1; }
tree shaken >shaken.tree
records shaken >shaken.records
diff calm.tree shaken.tree && diff calm.records shaken.records
"$ofedctl" verify --root shaken >/dev/null
echo "$killed kills of a bake: the root is as if there had been none"

killed=0
for round in $(seq 1 "$kills"); do
	timeout --signal=KILL "$(awk "BEGIN { print $whole * $round / $kills / 4000 }")" "$ofedctl" --quiet uninstall --root shaken \
		>>log 2>&1 && ended=0 || ended=$?
	[ "$ended" != 137 ] || killed=$((killed + 1))
done
uninstall shaken || { tail -n 20 log; echo "the uninstall after $killed kills failed"; exit 1; }
uninstall calm
tree calm >calm.tree
tree shaken >shaken.tree
diff calm.tree shaken.tree
grep -qx '# OS.EnableRDMA=y' shaken/etc/waagent.conf
echo "$killed kills of an uninstall: the root is as if there had been none"
