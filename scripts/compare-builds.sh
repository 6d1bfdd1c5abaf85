#!/usr/bin/env bash
# Runs two builds over the same sources (embedded SFTP and FTP servers, a folder; archives, changes between runs, a wrong
# setting) and compares stored trees, exit statuses and all that is printed; times, ids and speeds are masked.
# For changes that nobody outside may notice. Needs Python 3 and the ports 2121 and 2222.
#
# Usage: scripts/compare-builds.sh OLD-BINARY NEW-BINARY
set -euo pipefail
[ $# = 2 ] || { echo "compare-builds.sh: two binaries, please" >&2; exit 2; }
exec python3 "$(dirname "${BASH_SOURCE[0]}")/compare_builds.py" "$@"
