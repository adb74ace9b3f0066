#!/usr/bin/env bash
# Runs suites of tests, and shows which lines of the program ran, in what they start too: packaging/coverage.sh [SUITE...]
# Without a suite it runs all of them, and fails if too little ran of what handles input from outside.
# The program clears environments, changes its root and is killed: so where to note is linked into every program that is
# built here, not said in a variable; it lies in the devices, which a root sees too; and it is noted line by line (`%c`).
set -euo pipefail
# All measured programs of a machine note in one place, so that two runs would take each other's notes away.
if [ -z "${OFEDCTL_COVERAGE_LOCKED:-}" ]; then
	export OFEDCTL_COVERAGE_LOCKED=1
	status=0
	flock --nonblock --close --conflict-exit-code 75 /dev/ofedctl-coverage.lock "$0" "$@" || status=$?
	[ $status != 75 ] || echo "another make coverage is under way on this machine; run one at a time" >&2
	exit $status
fi
judge=()
if [ $# = 0 ]; then
	judge=(--least 85)
	set -- --lib --bins --tests
fi
notes=/dev/ofedctl-coverage
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/coverage
rm -rf "$notes"
mkdir -p "$target" "$notes"
trap 'rm -rf "$notes"' EXIT
chmod 1777 "$notes"
export CARGO_TARGET_DIR=$target
eval "$(cargo llvm-cov show-env --sh --no-cfg-coverage)"
unset LLVM_PROFILE_FILE

name=__llvm_profile_filename
cc=${CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER:-cc}
"$cc" -c -x assembler -o "$target/place.o" - <<-EOF
	.section .rodata.$name,"aG",@progbits,$name,comdat
	.hidden $name
	.globl $name
	$name: .asciz "$notes/%m%c.profraw"
	.section .note.GNU-stack,"",@progbits
EOF
printf '#!/bin/sh\nexec %s "%s/place.o" "$@"\n' "$cc" "$target" >"$target/linker"
chmod +x "$target/linker"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=$target/linker
flags="${CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS:-} -Cllvm-args=-runtime-counter-relocation"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags

ended=0
cargo test --locked --no-fail-fast "$@" || ended=$?
rm -f "$target"/*.profraw
# The small ones are of programs that only help to build.
find "$notes" -name '*.profraw' -size +20k -exec cp {} "$target/" \;
cargo llvm-cov report --lcov --output-path "$target/lcov"
packaging/coverage.py "${judge[@]}" "$target/lcov"
exit "$ended"
