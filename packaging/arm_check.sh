#!/usr/bin/env bash
# Builds the program for aarch64 and runs what needs no root under qemu-user: detect, plan, and a cache's verify.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-musl
rustup target add $target
export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc
cargo build --locked --target $target
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
run() { qemu-aarch64-static "${CARGO_TARGET_DIR:-target}/$target/debug/ofedctl" "$@"; }

run --version
run detect --root / --json | grep -q '"schema": "detect"'
run plan --distro ubuntu22.04 --arch aarch64 --nic cx7 | grep -E '^(target|driver)'
packaging/small_cache.py "$folder/cache"
run cache verify --cache "$folder/cache"
# A changed byte is found.
blob=$(grep -l '^Package: nothing' "$folder"/cache/blobs/sha256/*)
printf X | dd of="$blob" bs=1 seek=50 conv=notrunc status=none
if run cache verify --cache "$folder/cache"; then echo "a damaged cache was taken for sound" >&2; exit 1; fi
echo "aarch64: detect, plan and a cache's verify run"
