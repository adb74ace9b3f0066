#!/bin/sh
# Builds Packer from a folder of its sources, and runs the tests of its door against it. Needs a Go as new as the sources'
# go.mod asks for, and the modules that they use. Argument: the folder.
set -eu
src=${1:-}
[ -f "$src/go.mod" ] || { echo "SRC must name a folder with the sources of Packer: make packer-newest SRC=FOLDER"; exit 1; }
command -v go >/dev/null || { echo "Go is missing, and the newest Packer is built with it; its go.mod says: $(grep '^go ' "$src/go.mod")"; exit 1; }
out=$PWD/target/packer-newest
mkdir -p "$out"
(cd "$src" && CGO_ENABLED=0 go build -o "$out/packer" .)
"$out/packer" version
OFEDCTL_TEST_PACKER=$out/packer cargo test --locked --test packer
