#!/bin/sh
# Ends what a build left on the guest: when nothing in the build's folder has been renewed for so many seconds, what
# runs there is stopped, and the folder removed. With 0 seconds that is now, and every process of the build has ended
# afterwards: a builder that works in a chroot unmounts it next. Arguments: the folder, and the seconds.
folder=$1 lease=$2
trap '' HUP PIPE
cd / || exit 1

# Files that the bake itself writes do not show that the build is still connected.
is_renewed() {
	[ -n "$(find "$folder" ! -name log ! -name result -newermt "$lease seconds ago" -print -quit 2>/dev/null)" ]
}
is_running() {
	[ -e "$1/pid" ] && [ ! -e "$1/code" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null
}
# A zombie process, which nobody reaps in a container without an init, counts as ended.
has_ended() {
	! kill -0 "$2$1" 2>/dev/null || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"
}
# Waits for the process that a file names, or the group of processes with a minus after it.
wait_for_end() {
	patience=100
	while [ -e "$1" ] && ! has_ended "$(cat "$1")" "$2" && [ $patience -gt 0 ]; do
		sleep 0.1
		patience=$((patience - 1))
	done
}

if [ "$lease" -gt 0 ]; then
	echo $$ >"$folder/watchdog.new" && mv "$folder/watchdog.new" "$folder/watchdog"
	while is_renewed; do sleep 1; done
elif [ -e "$folder/watchdog" ]; then
	kill -KILL "-$(cat "$folder/watchdog")" 2>/dev/null
	wait_for_end "$folder/watchdog" -
fi
for run in "$folder"/run-*; do
	is_running "$run" && kill -TERM "$(cat "$run/pid")"
	# A package transaction ends in order.
	patience=60
	while is_running "$run" && [ $patience -gt 0 ]; do
		sleep 1
		patience=$((patience - 1))
	done
	wait_for_end "$run/runner"
	wait_for_end "$run/follower"
done
rm -rf "$folder"
