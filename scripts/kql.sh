#!/usr/bin/env bash
# Has Microsoft's own parser of KQL read every query of infra/: the alert rules' and the workbook's.
# Usage: scripts/kql.sh
# The parser is the npm package below, which is installed into a folder of its own and removed again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=12.4.1
command -v npm >/dev/null || {
    echo "kql.sh: npm is missing: https://nodejs.org" >&2
    exit 2
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --prefix "$folder" --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error \
    "@kusto/language-service-next@$version" </dev/null
node scripts/kql.js "$folder/node_modules"
