#!/usr/bin/env bash
# Says where the CPU time of blobferry goes in a row of scripts/bench.sh: how much in the kernel, how much in the program,
# and the functions that take most, by samples of Linux's `perf`. Needs perf, and the right to use it
# (kernel.perf_event_paranoid of 1 or less, or root).
#
#   scripts/profile.sh ROW [OPTION OF scripts/bench.sh…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

row=${1:?usage: scripts/profile.sh ROW; scripts/bench.sh --list shows them}
shift
command -v perf >/dev/null || { echo "profile.sh: there is no perf here (Debian: linux-perf)" >&2; exit 1; }
export BLOBFERRY_TEST_TOOLS=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
scripts/install-test-tools.sh --bench >/dev/null
# As it is shipped, but with the names of functions; in a folder of its own, so that nothing shipped is built anew.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/profile
CARGO_PROFILE_RELEASE_STRIP=none cargo build --release --bin blobferry --example into_nothing --example bench_sink --example delay_proxy
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#!/bin/sh\nexec perf record --quiet --freq 2999 --output "%s/samples" -- "%s" "$@"\n' "$folder" "$(realpath "$CARGO_TARGET_DIR")/release/blobferry" >"$folder/blobferry"
chmod +x "$folder/blobferry"
BLOBFERRY_BINARY=$folder/blobferry scripts/bench.sh --no-build --rounds 1 --only nobody "$@" "$row" >/dev/null
echo "share of the samples by program and library:"
perf report --input "$folder/samples" --stdio --sort dso --percent-limit 1 2>/dev/null | grep -v '^#' | grep -v '^$'
echo "by function:"
perf report --input "$folder/samples" --stdio --sort symbol --percent-limit 0.8 2>/dev/null | grep -v '^#' | grep -v '^$' | head -n 40
