#!/usr/bin/env bash
# Measures the memory that large files take: 10 GiB by SFTP, FTP and FTPS into a store that throws them away, and
# 1 GiB into Azurite. Prints peak and speed of each, and fails above 128 MiB. Takes minutes, most of them for building.
#
# The servers are the real ones of scripts/install-test-tools.sh; the throwing away is done by examples/into_nothing.rs.
# Usage: scripts/measure-memory.sh [sftp | ftp | ftps | azurite]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --bin blobferry --example into_nothing
target=${CARGO_TARGET_DIR:-target}
BLOBFERRY_BINARY=$(realpath "$target/release/blobferry")
BLOBFERRY_INTO_NOTHING=$(realpath "$target/release/examples/into_nothing")
export BLOBFERRY_BINARY BLOBFERRY_INTO_NOTHING REQUIRE_SERVERS=1

# One at a time, so that they do not slow each other down.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --test it "e2e::memory::measure_${1:-}" -- --ignored --nocapture --test-threads 1 >"$log" 2>&1 || status=$?
if [ "$status" != 0 ]; then
    cat "$log" >&2
    exit "$status"
fi
grep -E 'peak [0-9]+ MiB$' "$log"
