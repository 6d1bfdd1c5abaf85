#!/usr/bin/env bash
# Plays the full cycle (check, plan, two runs, changes, deletes, comparison, audit) against servers that we did not write,
# and prints a table. Runs from a bare clone: it builds, and installs the servers into .test-tools.
#
#   scripts/servers.sh [--no-build] [--write] [NAME…]
#
# NAME is a server of scripts/servers/; without any, all of them run. --write puts the table into docs/matrix.md.
# SHOW=1 shows what blobferry and the server say. Without root, servers that only root can start are left out, and named.
# Ends with 1 when a file is missing, is another one, a run says what is not so, or a server does not start.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
if [ "${1:-}" = --no-build ]; then
    shift
else
    cargo build --bin blobferry
    export BF=${BF:-$PWD/target/debug/blobferry}
fi
BLOBFERRY_TEST_TOOLS="$tools" scripts/install-test-tools.sh --servers >&2
servers="$tools/servers"
export TOOLS="$tools" NODE=${NODE:-node} MODULES="$servers/node_modules" OLD_PYFTPDLIB="$servers/old-pyftpdlib"
export BF=${BF:-$PWD/target/release/blobferry} PYTHONDONTWRITEBYTECODE=1
PYTHONPATH="$servers/python" exec python3 scripts/servers/main.py "$@"
