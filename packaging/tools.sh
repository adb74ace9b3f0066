#!/usr/bin/env bash
# Installs the tools that make .deb and .rpm, of the versions that are tested, into the folder FOLDER/bin, once:
# packaging/tools.sh FOLDER. They take minutes to build, so `make test` begins it while other tests run.
set -euo pipefail
folder=$1
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
[ ! -e "$folder/installed-1" ] || exit 0
# Where a test calls this, cargo's variables are about another package, and its flags for another linker.
for name in $(compgen -e CARGO_); do
	[ "$name" = CARGO_HOME ] || unset "$name"
done
CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug --quiet --root "$folder" cargo-deb@3.8.0 cargo-generate-rpm@0.21.1
touch "$folder/installed-1"
