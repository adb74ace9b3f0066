#!/bin/sh
# Made by `ofedctl cloud-init setup`. `cloud-init clean` prepares a VM for being captured as an image: what belongs to
# this VM alone goes, the driver and the cache stay.
rm -f /run/ofedctl/reboot-required
for program in /usr/local/bin/ofedctl /usr/bin/ofedctl; do
	[ -x "$program" ] && exec "$program" --quiet generalize
done
exit 0
