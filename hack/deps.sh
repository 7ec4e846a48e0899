#!/bin/sh
# Makes sure that what the tests need from Debian is there: installs it when it
# may, names it when it may not.
set -eu

missing=""
need() { # command, package
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need gcc gcc             # the race detector
need haproxy haproxy     # load balancer in front, rival in benchmarks
need redis-server redis-server
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
	as_root="sudo -n"
else
	echo "These Debian packages are missing, and only root can install them:$missing" >&2
	echo "Run: sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "This is not Debian: install the equivalents of$missing, then run this again." >&2
	exit 1
fi
echo "installing$missing"
$as_root apt-get update -q >/dev/null
# Tests start their own servers on their own ports; a package must not start one.
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $missing >/dev/null
