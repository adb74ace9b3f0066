#!/bin/sh
# For those who cannot publish an extension: Azure's Custom Script extension, Azure Batch, CycleCloud or a scheduler runs
# this as root. It downloads one release of ofedctl, known by its SHA-256, runs it, and ends with its exit code: 0, 1 or
# 10 to 14, with the reason as the last line. Run it again whenever you like: what is right already stays as it is.
set -eu

# Where the program is, and what it must be: `sha256sum ofedctl`. An address with a SAS token works, too.
OFEDCTL_URL=${OFEDCTL_URL:?set it to the address of the static program ofedctl}
OFEDCTL_SHA256=${OFEDCTL_SHA256:?set it to the SHA-256 of that file}
program=/usr/local/bin/ofedctl

is_right() {
	[ -f "$1" ] && echo "$OFEDCTL_SHA256  $1" | sha256sum --check --status
}

fetch() {
	# No proxy, no redirect out of TLS, and nothing of the address in the log: it may hold a token.
	if command -v curl >/dev/null; then
		curl --fail --silent --show-error --location --retry 5 --retry-connrefused --max-time 600 --output "$1" "$OFEDCTL_URL"
	elif command -v wget >/dev/null; then
		wget --quiet --tries=5 --timeout=60 --output-document="$1" "$OFEDCTL_URL"
	else
		echo "tool-missing: neither curl nor wget is on this machine" >&2
		exit 1
	fi
}

if [ "$(id -u)" != 0 ]; then
	echo "not-root: run it as root" >&2
	exit 1
fi
if ! is_right "$program"; then
	new=$(mktemp "$program.XXXXXX")
	trap 'rm -f "$new"' EXIT
	if ! fetch "$new"; then
		echo "download-failed: ofedctl could not be downloaded" >&2
		exit 14
	fi
	if ! is_right "$new"; then
		echo "digest-mismatch: the downloaded file is not the ofedctl that OFEDCTL_SHA256 names" >&2
		exit 14
	fi
	chmod 755 "$new"
	mv -f "$new" "$program"
	trap - EXIT
fi

# The portal shows only the end of the output; the complete log is /var/log/azure/ib-vmext-status.
code=0
"$program" --quiet install "$@" || code=$?
"$program" status || true
exit "$code"
