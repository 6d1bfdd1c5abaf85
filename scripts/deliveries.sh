#!/usr/bin/env bash
# Plays a month of deliveries to a real sshd and a real vsftpd on a clock of its own (libfaketime), and compares what
# `run` and `expect` say of expected files with a calculation in Python: files that are late, missing, empty, twice,
# unreadable; servers that are down; runs that are missed for days or killed; three nights in which clocks change.
#
#   scripts/deliveries.sh [--no-build] [DAYS [SEED]]        30 days; the same seed plays the same deliveries
#
# Ends with 1 when one state, reason, exit status, alert or written change is another one. Some 15 minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export BLOBFERRY_TEST_TOOLS=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
if [ "${1:-}" = --no-build ]; then
    shift
else
    cargo build --bin blobferry
fi
FAKETIME_LIBRARY=$(find /usr/lib /usr/local/lib -name 'libfaketimeMT.so.1' 2>/dev/null | head -n 1)
if [ -z "$FAKETIME_LIBRARY" ]; then
    echo "deliveries.sh: there is no libfaketime: apt-get install libfaketime" >&2
    exit 2
fi
export FAKETIME_LIBRARY
BF=${BF:-$PWD/target/debug/blobferry} exec python3 scripts/deliveries.py "$@"
