#!/bin/sh
# Runs a command on the guest so that it outlives a lost connection. What it prints, its process and its exit code
# are kept in a folder. Arguments: that folder, and the command.
run=$1
shift
trap '' HUP PIPE
umask 077
cd / || exit 1
echo $$ >"$run/runner"
"$@" >"$run/result" 2>"$run/log" </dev/null &
echo $! >"$run/pid.new" && mv "$run/pid.new" "$run/pid"
wait $!
echo $? >"$run/code.new" && mv "$run/code.new" "$run/code"
