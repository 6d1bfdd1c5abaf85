#!/usr/bin/env bash
# Holds the meanings of tests/fixtures/listings.txt against parsers of other projects: basic-ftp and ftp (npm),
# aioftp and ftputil (PyPI). What one of them reads in another way is told; lines whose
# reason is known stand in scripts/listings.known. Ends with 1 when another line is read in another way.
#
#   scripts/listings.sh [--write]     --write makes scripts/listings.known anew, for a look at what changed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
parsers=${BLOBFERRY_PARSERS:-$tools/parsers}
if [ ! -x "$parsers/python/bin/python" ]; then
    python3 -m venv "$parsers/python"
    "$parsers/python/bin/pip" install --quiet aioftp==0.28.3 ftputil==5.2.0
fi
if [ ! -d "$parsers/node_modules/basic-ftp" ]; then
    npm install --silent --no-audit --no-fund --prefix "$parsers" basic-ftp@6.2.3 ftp@0.3.10
fi
export PARSERS="$parsers"
exec "$parsers/python/bin/python" scripts/listings.py "$@"
