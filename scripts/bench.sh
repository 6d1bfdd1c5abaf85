#!/usr/bin/env bash
# Measures blobferry beside the tools that people use today, on this machine, and writes docs/benchmarks.md, .json and
# benchmarks-growth.svg, which shows how wall time grows with files and with connections.
# Runs from a bare clone: it builds, installs what is missing (scripts/install-test-tools.sh --bench), makes its data.
#
#   scripts/bench.sh [--rounds N] [--scale small|full] [--keep FOLDER] [--before BINARY] [--only CONTESTANT]
#                    [--again] [--no-build] [--list] [ROW…]
#
# ROW is a row of scripts/bench/rows.py or the beginning of one (`sftp`, `archives`, `growth`); without any, all of them run.
# `--before BINARY` compares what is built with another binary of the product, by turns; `--only none` leaves the others out.
# A part of the rows, or `small`, is printed and written below target/, not into docs/: those show whole runs, and rows that
# `--again` has put beside them since.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=1
for argument in "$@"; do
    case $argument in --no-build | --list | --help | -h) build=0 ;; esac
done
export BLOBFERRY_TEST_TOOLS=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
if [ $build = 1 ]; then
    scripts/install-test-tools.sh --bench
    cargo build --release --bin blobferry --example into_nothing --example bench_sink --example delay_proxy
fi
exec python3 scripts/bench/main.py "$@"
