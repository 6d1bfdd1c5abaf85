#!/usr/bin/env bash
# Makes tests/fixtures/state-0.1: what version 0.1 leaves in a folder and in a container, for tests/it/upgrade.rs.
#   scripts/make-state-0.1.sh BINARY
# BINARY is version 0.1.0, built of the commit that is called so:
#   git worktree add /tmp/blobferry-0.1 429f9ca
#   (cd /tmp/blobferry-0.1 && CARGO_TARGET_DIR=/tmp/blobferry-0.1-target cargo build --release)
#   scripts/make-state-0.1.sh /tmp/blobferry-0.1-target/release/blobferry
# Needs GNU tar, Python 3, and what scripts/install-test-tools.sh installs (Azurite, the Azure SDK); the port 2190 of
# 127.0.0.1 must be free. It takes a minute.
#
# The fixture is committed, and is made anew only if it is to hold something more: later versions must read what 0.1
# wrote, not what is easy to read. A new one is good for the tests a quarter of an hour later: until then its open pass
# counts as under way. expected.json and README.md beside it are written by hand, from the story in scripts/state/make.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=${1:?the 0.1.0 binary, see the head of this script}
tools=$(realpath "${BLOBFERRY_TEST_TOOLS:-.test-tools}")
[ -d "$tools/python" ] || scripts/install-test-tools.sh
export PYTHONPATH=$tools/python PYTHONDONTWRITEBYTECODE=1
rm -rf tests/fixtures/state-0.1/messages
exec python3 scripts/state/make.py "$binary" "$tools" tests/fixtures/state-0.1
