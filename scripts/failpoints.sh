#!/usr/bin/env bash
# Stops a real process at every failpoint in every way (abort, error, hang) against Azurite, lets whole ones follow, and
# compares what is stored with the source (tests/it/failpoints.rs); then makes sure that nothing of feature `testing`
# (failpoints, stores and servers in memory, faults of the demo servers) is in what is shipped. Takes minutes.
# Needs the test tools: scripts/install-test-tools.sh.
#
# Usage: scripts/failpoints.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export BLOBFERRY_FAILPOINTS=all REQUIRE_SERVERS=1
cargo test --test it -- failpoints:: --nocapture

# Whatever the profile: features are what tells it apart.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo build --release
binary=${CARGO_TARGET_DIR:-target}/release/blobferry
if grep -aoE 'BLOBFERRY_FAILPOINT|close-report-written|fold-shards-written|journal-untouched' "$binary"; then
    echo "failpoints.sh: $binary has failpoints in it" >&2
    exit 1
fi
if grep -aoE 'src/(store|source)/(memory|discard)[a-z_/]*\.rs|MemoryStore|MemoryServer|DiscardStore' "$binary"; then
    echo "failpoints.sh: $binary has test doubles in it" >&2
    exit 1
fi
if grep -aoE 'as the script has it|maximum number of clients for this user is already' "$binary"; then
    echo "failpoints.sh: the demo servers in $binary can be told to misbehave" >&2
    exit 1
fi
grep -aq 'BLOBFERRY_CONFIG' "$binary" || { echo "failpoints.sh: $binary cannot be searched" >&2; exit 1; }
echo "failpoints.sh: nothing of the tests is in $binary"
