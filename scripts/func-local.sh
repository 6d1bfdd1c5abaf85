#!/usr/bin/env bash
# Runs the function app on this machine: builds the binary, puts it beside host.json, starts the storage
# emulator that the Functions host keeps its timers in, and starts the host. Usage: scripts/func-local.sh [what `func start` takes]
#
# Needs Azure Functions Core Tools 4 (`func`). The emulator is taken from .test-tools
# (scripts/install-test-tools.sh) unless one listens on port 10000 already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'func-local: %s\n' "$*" >&2
    exit 1
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

command -v func >/dev/null 2>&1 || fail "\`func\` is missing: install Azure Functions Core Tools 4, https://learn.microsoft.com/azure/azure-functions/functions-run-local"
command -v cargo >/dev/null 2>&1 || fail "\`cargo\` is missing: install Rust, https://rustup.rs"
[ -e ingest.toml ] || fail "ingest.toml is missing: it tells what to fetch and where it goes"

cargo build --release --locked
# A running binary cannot be written over, but its name can be given to another.
cp "${CARGO_TARGET_DIR:-target}/release/blobferry" blobferry.new
chmod 755 blobferry.new
mv -f blobferry.new blobferry

azurite=
stop() { [ -z "$azurite" ] || kill "$azurite" 2>/dev/null || true; }
trap stop EXIT
tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
if listens 10000; then
    echo "func-local: using the storage emulator on port 10000"
else
    node=$tools/node/node
    program=$tools/node/node_modules/azurite/dist/src/azurite.js
    if [ -x "$node" ] && [ -e "$program" ]; then
        mkdir -p target/azurite
        "$node" "$program" --silent --disableTelemetry --skipApiVersionCheck --location target/azurite &
        azurite=$!
        for _ in $(seq 100); do
            listens 10000 && break
            kill -0 "$azurite" 2>/dev/null || fail "the storage emulator ended at once"
            sleep 0.1
        done
        listens 10000 || fail "the storage emulator does not listen on port 10000 after 10 s"
    else
        echo "func-local: no storage emulator found: the schedule will not run; scripts/install-test-tools.sh installs one" >&2
    fi
fi

func start "$@"
