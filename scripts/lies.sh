#!/usr/bin/env bash
# Plays schedules of lies over a window of seeds: a source that errs, and an oracle that knows what it truly held.
# `--level model` (tests/it/lies) lies behind the source's contract, `--level wire` (tests/it/wire_lies) by the bytes of
# FTP and SFTP. Prints a digest of each thousand seeds, the same on every machine, and how often each lie acted and its
# safeguard decided; of 20,000 seeds and more each must have done so 100 times. Ends with 1 on a violation, which names
# its seed.
#
# Usage: scripts/lies.sh [--seeds A..B, 0..20000] [--level model|wire] [--debug]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seeds=0..20000 level=model profile=(--release)
while [ $# -gt 0 ]; do
    case $1 in
    --seeds) seeds=${2:?--seeds is A..B} && shift 2 ;;
    --level) level=${2:?--level is model or wire} && shift 2 ;;
    --debug) profile=() && shift ;;
    *) echo "lies.sh: there is no \`$1\`; see the head of this script" >&2 && exit 2 ;;
    esac
done
case $level in
model) seeds_of=lies::seeds ;;
wire) seeds_of=wire_lies::seeds ;;
*) echo "lies.sh: there is no level \`$level\`; there are: model, wire" >&2 && exit 2 ;;
esac
if ! [[ $seeds =~ ^[0-9]+\.\.[0-9]+$ ]]; then
    echo "lies.sh: \`$seeds\` is no window; as 0..20000" >&2
    exit 2
fi
export RUST_BACKTRACE=0
# A build of its own: optimised, and quick to make.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
BLOBFERRY_LIES=$seeds cargo test -q "${profile[@]}" --test it -- "$seeds_of" --exact --nocapture
