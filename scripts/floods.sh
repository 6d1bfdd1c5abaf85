#!/usr/bin/env bash
# Measures the memory that servers cost which send without end: folders, files, files of long names, lines, one line,
# pages of READDIR, the bytes of a file, a reply (tests/it/wire_lies/floods.rs). Prints the peak of each, and fails above 400 MiB. Each flood
# goes on for half a minute, unless a limit ends the run before.
#
# Usage: scripts/floods.sh [--debug]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" != --debug ]; then
    cargo build --release --bin blobferry
    BLOBFERRY_BINARY=$(realpath "${CARGO_TARGET_DIR:-target}/release/blobferry")
    export BLOBFERRY_BINARY
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --test it wire_lies::floods -- --ignored --nocapture --test-threads 1 >"$log" 2>&1 || status=$?
if [ "$status" != 0 ]; then
    cat "$log" >&2
    exit "$status"
fi
# The first line stands behind the name of the test.
grep -o 'flood [a-z].* peak .*' "$log"
