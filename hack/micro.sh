#!/bin/sh
# Runs the benchmarks that stand beside the code of the hot paths, in the format that
# benchstat reads.
#
#   hack/micro.sh save FILE     six rounds into FILE
#   hack/micro.sh compare FILE  six rounds beside those of FILE. Times compare only if
#                               it was saved by the same machine; bytes and allocations
#                               always do.
#   hack/micro.sh compare REV   this tree and a commit in turn, round by round: machines
#                               that others use, too, change their speed within minutes.
set -eu

usage="usage: hack/micro.sh save FILE | compare FILE | compare REV"
do=${1:?$usage} with=${2:?$usage}
packages="auth cache/store cache/watch cache/wire flows limiter proxy request routing"
rounds=6

work=$(mktemp -d)
cleanup() {
	rm -rf "$work"
	git worktree prune
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# build TREE NAME: the test binaries of a tree.
build() {
	mkdir "$work/$2"
	for p in $packages; do
		[ -d "$1/pkg/$p" ] || continue
		(cd "$1" && go test -c -o "$work/$2/$(echo "$p" | tr / -)" "./pkg/$p")
	done
}

# measure TREE NAME: one round, appended to NAME.txt. A million objects take a while
# to build and say nothing that fifty thousand do not.
measure() {
	for p in $packages; do
		binary=$work/$2/$(echo "$p" | tr / -)
		[ -x "$binary" ] || continue
		(cd "$1/pkg/$p" && "$binary" -test.run '^$' -test.bench . -test.skip Million -test.benchtime 200ms -test.benchmem) |
			grep -v -e '^PASS$' -e '^ok' >>"$work/$2.txt"
	done
}

benchstat() { go tool -modfile=hack/tools/go.mod benchstat "$@"; }

build . now
case $do in
save)
	for round in $(seq $rounds); do
		echo "round $round of $rounds" >&2
		measure . now
	done
	cp "$work/now.txt" "$with"
	;;
compare)
	if [ -f "$with" ]; then
		cp "$with" "$work/before.txt"
	else
		git worktree add --quiet --detach "$work/tree" "$with"
		build "$work/tree" before
	fi
	for round in $(seq $rounds); do
		echo "round $round of $rounds" >&2
		if [ -d "$work/tree" ]; then measure "$work/tree" before; fi
		measure . now
	done
	benchstat before="$work/before.txt" now="$work/now.txt"
	;;
*)
	echo "$usage" >&2
	exit 2
	;;
esac
