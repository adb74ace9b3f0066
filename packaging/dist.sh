#!/usr/bin/env bash
# Makes all files of a release in the folder OUT: packaging/dist.sh OUT [PROGRAM-FOR-x86_64 [PROGRAM-FOR-aarch64]]
# Without programs it builds them. The same commit gives the same bytes. KEY=FILE signs the list of checksums.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
x86_64=${2:-}
aarch64=${3:-}
TZ=UTC LC_ALL=C
export TZ LC_ALL
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
umask 022

say() { echo "dist: $*" >&2; }
need() { command -v "$1" >/dev/null || { say "$1 is missing: $2"; exit 1; }; }
need cargo-deb "cargo install --locked cargo-deb"
need cargo-generate-rpm "cargo install --locked cargo-generate-rpm"
need python3 "install python3"

# No path of this machine is in the program.
build() {
	local target=$1-unknown-linux-musl
	export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=/ofedctl --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
	cargo build --locked --release --target "$target" >&2
	echo "${CARGO_TARGET_DIR:-target}/$target/release/ofedctl"
}

if [ -z "$x86_64" ]; then
	x86_64=$(build x86_64)
	if ! rustup target add aarch64-unknown-linux-musl >&2; then
		say "Rust's target aarch64-unknown-linux-musl cannot be had: there are no files for aarch64"
	elif ! command -v aarch64-linux-gnu-gcc >/dev/null; then
		say "aarch64-linux-gnu-gcc is missing (Debian: gcc-aarch64-linux-gnu): there are no files for aarch64"
	else
		aarch64=$(CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc \
			CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc build aarch64)
	fi
fi

version=$("$x86_64" --version | cut -d' ' -f2)
rm -rf "$out" target/dist
mkdir -p "$out" target/dist/man target/dist/completions

# What the packages hold beside the program comes from the program itself.
for shell in bash zsh fish; do "$x86_64" completions "$shell" >"target/dist/completions/$shell"; done
"$x86_64" man >target/dist/man/ofedctl.1
packaging/commands.py "$x86_64" | while read -r words; do
	# Word splitting is meant: a command is one or two words.
	# shellcheck disable=SC2086
	"$x86_64" man $words >"target/dist/man/ofedctl-${words// /-}.1"
done

packages() {
	local program=$1 arch=$2
	# The rpm of RHEL 7 knows gzip, and not zstd.
	# Both tools take the program from where cargo would have built it for this target.
	local place=target/$arch-unknown-linux-musl/release/ofedctl
	mkdir -p "$(dirname "$place")"
	[ "$program" -ef "$place" ] || cp "$program" "$place"
	cargo deb --quiet --no-build --no-strip --target "$arch-unknown-linux-musl" --output "$out/" >&2
	cargo generate-rpm --target "$arch-unknown-linux-musl" --auto-req disabled --payload-compress gzip --source-date "$SOURCE_DATE_EPOCH" \
		--output "$out/" >&2
}

plugins=()
others=()
for arch in x86_64 aarch64; do
	program=${!arch}
	[ -n "$program" ] || continue
	case $arch in x86_64) other=amd64 ;; aarch64) other=arm64 ;; esac
	install -m 755 "$program" "$out/ofedctl-$version-$arch-linux"
	packages "$program" "$arch"
	plugin=packer-plugin-ofed_v${version}_x5.0_linux_$other
	packaging/pack.py zip "$out/$plugin.zip" "$plugin=$program"
	plugins+=("$plugin.zip")
	others+=("$arch=$program")
done
(cd "$out" && sha256sum "${plugins[@]}" >"packer-plugin-ofed_v${version}_SHA256SUMS")

more=()
[ -z "$aarch64" ] || more=(--program "$aarch64")
"$x86_64" --quiet extension package --out "$out/InfiniBandDriverLinux-$version.0.zip" "${more[@]}" >/dev/null
packaging/pack.py image "$out/ofedctl-$version-oci.tar" "$version" "${others[@]}"
packaging/pack.py sbom "$out/ofedctl-$version.cdx.json" "$version"
install -m 644 CHANGELOG.md LICENSE "$out/"

(cd "$out" && LC_ALL=C sha256sum -- * >SHA256SUMS)
if [ -n "${KEY:-}" ]; then
	openssl dgst -sha256 -sign "$KEY" "$out/SHA256SUMS" | base64 -w0 >"$out/SHA256SUMS.sig"
fi
say "$out has $(find "$out" -type f | wc -l) files of ofedctl $version"
