#!/bin/sh
# CycleCloud runs this as root on each node, before the scheduler's daemon takes jobs. A code that is not 0 fails the node,
# with the last lines of the output as the reason. Put the release of ofedctl and azure/custom-script/infiniband.sh into
# this project's `files` folder.
set -eu
files=$(CDPATH='' cd "$(dirname "$0")/../files" && pwd)

OFEDCTL_URL=file://$files/ofedctl
OFEDCTL_SHA256=$(sha256sum "$files/ofedctl" | cut -d ' ' -f 1)
export OFEDCTL_URL OFEDCTL_SHA256
exec sh "$files/infiniband.sh"
