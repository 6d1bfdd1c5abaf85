#!/usr/bin/env bash
# Measures the ledger with very many files: seconds, requests by kind and peak of memory of a first run's records, of
# reading and deciding about all of them, and of whole runs over a made-up source. Fails above 256 MiB for reading and
# deciding, or above 300 requests. Takes minutes, most of them for building.
#
# Usage: scripts/measure-ledger.sh [known files, 1000000] [new files, 1000]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

known=${1:-1000000}
new=${2:-1000}
cargo build --release --example ledger_at_scale
measure=$(realpath "${CARGO_TARGET_DIR:-target}/release/examples/ledger_at_scale")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Each step is a process of its own, and has its own peak.
"$measure" fill "$folder" "$known"
du -sh "$folder" | sed 's/\t.*/ on disk/; s/^/  /'
plan=$("$measure" plan "$folder" "$known" "$new")
echo "$plan"
"$measure" run "$folder" $((known + new)) "$new"
"$measure" rebuild "$folder"
echo "with the store in memory, whose bytes count in the peak:"
"$measure" memory "$known" "$new"

peak=$(grep -oE 'peak [0-9]+ MiB$' <<<"$plan" | grep -oE '[0-9]+')
requests=$(grep -oE '[0-9]+ requests' <<<"$plan" | grep -oE '[0-9]+')
[ "$peak" -le 256 ] || { echo "measure-ledger.sh: $peak MiB is above 256 MiB" >&2; exit 1; }
[ "$requests" -le 300 ] || { echo "measure-ledger.sh: $requests requests are above 300" >&2; exit 1; }
