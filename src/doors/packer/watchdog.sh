#!/bin/sh
# Ends what a build left on the guest: when nothing in the build's folder has been renewed for so many seconds, what
# runs there is stopped, and the folder removed. Arguments: the folder, and the seconds.
folder=$1 lease=$2
trap '' HUP PIPE
cd / || exit 1

# What a bake itself writes says nothing about whether anyone is there.
is_renewed() {
	[ -n "$(find "$folder" ! -name log ! -name result -newermt "$lease seconds ago" -print -quit 2>/dev/null)" ]
}
is_running() {
	[ -e "$1/pid" ] && [ ! -e "$1/code" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null
}

while is_renewed; do sleep 1; done
for run in "$folder"/run-*; do
	is_running "$run" && kill -TERM "$(cat "$run/pid")"
	# A package transaction ends in order.
	patience=60
	while is_running "$run" && [ $patience -gt 0 ]; do
		sleep 1
		patience=$((patience - 1))
	done
done
rm -rf "$folder"
