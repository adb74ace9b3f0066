#!/bin/sh
# Run by the VM agent as `sh bin/ofedctl-shim COMMAND` in the handler's folder. Copies the program for this machine's
# architecture to where programs may run, and becomes the copy: the handler's folder may be on a file system that runs
# none (noexec), its files may be still open for writing (Text file busy), and it goes away while a run is at work.
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 022

bin=$(cd "$(dirname "$0")" && pwd -P) || exit 14
arch=$(uname -m)
program=$bin/ofedctl-$arch
if [ ! -f "$program" ]; then
	echo "image-unsupported: this package of the extension has no program for $arch"
	exit 12
fi

# Renamed into place: a worker that runs from the earlier copy keeps it.
place() {
	mkdir -p "$folder" && cp "$program" "$new" && chmod 0755 "$new" && mv -f "$new" "$copy"
} 2>/dev/null

# 126 is what a shell says of a program that it may not start, or not yet.
runs() {
	for pause in 0 1 1; do
		sleep "$pause"
		"$copy" --version >/dev/null 2>&1
		code=$?
		[ "$code" -eq 126 ] || return "$code"
	done
	return 126
}

for folder in /usr/local/lib/ofedctl-extension /opt/ofedctl-extension /run/ofedctl-extension; do
	copy=$folder/ofedctl
	new=$folder/.ofedctl.$$
	if place && runs; then
		exec "$copy" extension "$@" --handler-dir "${bin%/*}"
	fi
	rm -f "$new" "$copy" 2>/dev/null
done
echo "internal: the program runs from no folder; tried /usr/local/lib, /opt and /run"
exit 14
