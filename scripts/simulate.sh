#!/usr/bin/env bash
# Plays many schedules of the simulation (tests/it/simulation), optimised, and prints what they exercised. A violation
# ends it and says how to see it again.
#
# Usage: scripts/simulate.sh [schedules, 1000000] [first seed, 0]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export BLOBFERRY_SCHEDULES=${1:-1000000} BLOBFERRY_FIRST_SEED=${2:-0} RUST_BACKTRACE=0
# A build of its own: optimised, and quick to make.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo test --release --test it --no-run
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# One kind of schedule after the other would leave cores idle at the end of each.
cargo test --release --test it -- simulation:: --skip simulation::mutants --nocapture 2>&1 | tee "$log"
played=$(grep -oE '^[A-Za-z]+: [0-9]+ schedules in' "$log" | awk '{ sum += $2 } END { print sum + 0 }')
echo "simulate.sh: $played schedules, no violation"
