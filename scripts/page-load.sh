#!/usr/bin/env bash
# Makes the state of 1,000 sources and a million files, and measures what the status page and `find` take over it.
#   scripts/page-load.sh [SOURCES [FILES_EACH]]    default: 1000 1000
#   BLOBFERRY=…    this binary instead of a release build
#   KEEP=FOLDER    makes the state there, and leaves it
# Ends with 1 if a page takes longer than 300 ms or the process more than 64 MiB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${BLOBFERRY:-}" ]; then
    cargo build --locked --release --bin blobferry
    BLOBFERRY=$PWD/target/release/blobferry
fi
exec python3 scripts/page_load.py "$BLOBFERRY" "${1:-1000}" "${2:-1000}"
