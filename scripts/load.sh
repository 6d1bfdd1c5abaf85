#!/usr/bin/env bash
# Measures two promises: dead sources hold up no healthy ones, and a folder of 100,000 entries is listed quickly in
# little memory. Prints the figures; ends with 1 where one is missed. Runs from a bare clone, in some minutes.
#
#   scripts/load.sh [--no-build] [--rounds N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --no-build ]; then
    shift
else
    cargo build --release --bin blobferry --example matrix_server
fi
exec python3 scripts/load.py "$@"
