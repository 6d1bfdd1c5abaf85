#!/usr/bin/env bash
# Counts the instructions of a fixed small job, and fails where they have become more than 1.3 times those that
# scripts/callgrind.bound holds. A count is the same however busy the machine is, which no time in CI is.
#
# The job: 200 files of 20 KiB and one zip of 20 members, from a folder into a folder (`first`), and a second run over
# them when nothing has changed (`again`); and the same files into a Blob service in memory (`store`): the path of a
# store that is far away. It runs in valgrind's callgrind, on the debug build that the tests have made.
#
#   scripts/callgrind.sh                count, show the functions that take most, judge
#   scripts/callgrind.sh --update       count, and make that the bound of this kind of processor
#   scripts/callgrind.sh --keep FOLDER  leave the profiles there, for callgrind_annotate or kcachegrind
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export BLOBFERRY_TEST_TOOLS=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
scripts/install-test-tools.sh --valgrind
# What the tests use, with the features that they use: after them there is nothing left to build.
cargo test --locked --quiet --no-run --test it
cargo build --locked --quiet --example bench_sink
exec python3 scripts/callgrind.py "$@"
