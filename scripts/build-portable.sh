#!/usr/bin/env bash
# Builds blobferry for Linux so that it runs on other machines than this one: zig is the C compiler and linker, no system
# library of this machine ends up in the binary.
#   scripts/build-portable.sh TARGET      as x86_64-unknown-linux-musl, aarch64-unknown-linux-musl,
#                                         x86_64-unknown-linux-gnu.2.28
# cargo-zigbuild and zig come from PyPI into target/package-tools. Needs Rust with the target, and Python 3 with venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo_zigbuild=0.24.0
ziglang=0.17.1

target=${1:?usage: scripts/build-portable.sh TARGET}
tools=${BLOBFERRY_PACKAGE_TOOLS:-$PWD/target/package-tools}
if ! "$tools/bin/python" -c "from importlib.metadata import version as v; assert (v('cargo-zigbuild'), v('ziglang')) == ('$cargo_zigbuild', '$ziglang')" 2>/dev/null; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "cargo-zigbuild==$cargo_zigbuild" "ziglang==$ziglang"
fi
PATH="$tools/bin:$PATH" cargo zigbuild --release --locked --bin blobferry --target "$target"
