#!/usr/bin/env bash
# Plays the package under the Functions host itself: its own routes, timers, queues, timeouts and
# ends, built from its public source and kept beside the project, with Azurite as its storage.
#   scripts/func-real.sh [--binary FILE] [--smoke] [NAME…]
#     --binary  the binary of the package; the default is one that is built now, for this machine
#     --smoke   only the cases that take no minute together; what .ci/run does
#     NAME…     only these cases; the rules list them
# BLOBFERRY_HOST_TOOLS is the folder with `tools/functions-host-real` and `repro/host/judge.py`;
# ../shared by default. Without it there is no such host: exit status 77, and a line that says so.
# Needs curl, Python 3 and .test-tools (scripts/install-test-tools.sh). All cases: some ten minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary='' smoke=''
while [ $# -gt 0 ]; do
    case $1 in
    --binary) binary=$2 && shift 2 ;;
    --smoke) smoke=yes && shift ;;
    -*)
        sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
    *) break ;;
    esac
done

beside=${BLOBFERRY_HOST_TOOLS:-../shared}
rules=$beside/repro/host/judge.py
if [ ! -f "$rules" ] || [ ! -x "$beside/tools/functions-host-real/host.sh" ]; then
    echo "func-real.sh: LEFT OUT: the Functions host is not at $beside" >&2
    exit 77
fi
tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
azurite=$tools/node/node_modules/azurite/dist/src/azurite.js
if [ ! -x "$tools/node/node" ] || [ ! -f "$azurite" ]; then
    echo "func-real.sh: Azurite is not in $tools: run scripts/install-test-tools.sh" >&2
    exit 1
fi
if [ -z "$binary" ]; then
    cargo build --quiet --locked --bin blobferry
    binary=${CARGO_TARGET_DIR:-target}/debug/blobferry
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
scripts/package.sh --binary "$binary" --output "$scratch"

# The host says that it has started a moment before it listens: a refused connection is tried again,
# and nothing else, since a request that was taken may have started a run.
mkdir "$scratch/bin"
curl=$(command -v curl)
cat >"$scratch/bin/curl" <<WAITS
#!/bin/sh
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    "$curl" "\$@" && exit 0 || code=\$?
    [ "\$code" = 7 ] || exit "\$code"
    sleep 1
done
exit "\$code"
WAITS
chmod 755 "$scratch/bin/curl"

names=("$@")
if [ -n "$smoke" ]; then
    names=(post-brings-the-files-and-answers a-chunked-body-starts-no-run-over-everything
        flex-consumption-runs-by-the-queue the-handler-ends-with-its-host)
fi
mkdir "$scratch/tmp"
play() {
    PATH="$scratch/bin:$PATH" TMPDIR="$scratch/tmp" APP="$scratch/blobferry-functions.zip" \
        AZURITE="$tools/node/node $azurite" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
        FUNCTIONS_HOST_ROOT="${FUNCTIONS_HOST_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/blobferry-host}" \
        python3 "$rules" "${names[@]}" 2>&1 | tee "$scratch/log"
}
# On a busy machine Azurite may take longer to listen than the rules wait: then nothing was judged.
for _ in 1 2 3; do
    code=0
    play || code=$?
    grep -q 'nothing listens on' "$scratch/log" || exit "$code"
done
exit "$code"
