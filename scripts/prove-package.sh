#!/usr/bin/env bash
# Builds the package (scripts/package.sh), takes the binary out of the zip again, and runs it as Azure would: behind
# the host's payloads, from a file system that is read-only but for /tmp. Needs root, for the file system, and Azurite
# (scripts/install-test-tools.sh).
#   scripts/prove-package.sh [ZIP]     ZIP: a package that is there already; none is built then
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

zip=${1:-}
if [ -z "$zip" ]; then
    scripts/package.sh
    zip=dist/blobferry-functions.zip
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 - "$zip" "$place" <<'TAKE'
import os, sys, zipfile

archive, place = zipfile.ZipFile(sys.argv[1]), sys.argv[2]
info = archive.getinfo("blobferry")
path = archive.extract(info, place)
os.chmod(path, info.external_attr >> 16 & 0o777)  # the zip's own mode
TAKE
echo "binary: $(scripts/portable.sh "$place/blobferry"), $(stat -c '%s bytes, mode %a' "$place/blobferry")"
BLOBFERRY_PACKAGED_BINARY=$place/blobferry REQUIRE_SERVERS=1 cargo test --test it -- packaged::
