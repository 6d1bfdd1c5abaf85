#!/usr/bin/env bash
# Plays many schedules of the simulation (tests/it/simulation), optimised, and prints what they exercised. A violation
# ends it and says how to see it again.
#
# Usage: scripts/simulate.sh [schedules, 1000000] [first seed, 0]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=${1:-1000000} first=${2:-0}
# A process that was killed in a schedule keeps its memory, as real ones do not: so many of them in one program.
chunk=20000
export RUST_BACKTRACE=0
# A build of its own: optimised, and quick to make.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo test --release --test it --no-run
log=$(mktemp)
trap 'rm -f "$log"' EXIT
played=0
while [ "$played" -lt "$all" ]; do
    count=$((all - played < chunk ? all - played : chunk))
    BLOBFERRY_SCHEDULES=$count BLOBFERRY_FIRST_SEED=$((first + played)) \
        cargo test -q --release --test it -- simulation:: --skip simulation::mutants --nocapture >"$log" 2>&1 || { cat "$log"; exit 1; }
    grep -E '^[A-Za-z]+: [0-9]+ schedules in' "$log"
    played=$((played + $(grep -oE '^[A-Za-z]+: [0-9]+ schedules in' "$log" | awk '{ sum += $2 } END { print sum + 0 }')))
    echo "simulate.sh: $played of $all schedules after $SECONDS s, no violation"
done
