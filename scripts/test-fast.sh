#!/usr/bin/env bash
# The tests that need no server and no second process: units, runs in memory, pages, lists, the house itself.
# In less than two minutes once built. Usage: scripts/test-fast.sh [what cargo test takes]
# It says nothing of servers, of crashes and of the handler: scripts/test.sh does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo test --lib "$@"
cargo test --test it "$@" -- world:: lists:: docs:: tidy:: fuzz:: names::
