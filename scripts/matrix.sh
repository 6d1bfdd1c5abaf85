#!/usr/bin/env bash
# Holds blobferry and rclone against the same misbehaving servers, judges what each came to, and writes docs/matrix.md.
# Runs from a bare clone: it builds, and installs rclone (scripts/install-test-tools.sh). Takes about ten minutes.
#
#   scripts/matrix.sh [--no-build] [--out FILE] [NAME…]
#
# NAME is a personality of examples/matrix_server.rs; without any, all of them run. A part is printed, not written.
# Ends with 1 when blobferry breaks a promise: a hang, a silent loss, a torn file, a report that does not add up,
# a secret in an output, a log line that is no JSON.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export BLOBFERRY_TEST_TOOLS=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
if [ "${1:-}" = --no-build ]; then
    shift
else
    [ -x "$BLOBFERRY_TEST_TOOLS/python/bin/rclone" ] || scripts/install-test-tools.sh
    cargo build --release --bin blobferry --example matrix_server
fi
exec python3 scripts/matrix.py "$@"
