#!/usr/bin/env bash
# Compiles infra/main.bicep and deploy/container-apps-job.bicep and lets the linter see them: what
# the tests, which know the grammar and the names, cannot tell of types. Usage: scripts/template.sh
# BICEP is the compiler; the default is `bicep` on the PATH (`az bicep install` puts it into
# ~/.azure/bin). Without one: exit status 77, and a line that says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compiler=${BICEP:-$(command -v bicep || true)}
if [ -z "$compiler" ]; then
    echo "template.sh: LEFT OUT: there is no Bicep compiler; set BICEP to one" >&2
    exit 77
fi
"$compiler" --version
template=$(mktemp)
trap 'rm -f "$template"' EXIT
"$compiler" build infra/main.bicep --stdout >"$template"
python3 - "$template" <<'RESOURCES'
import json, sys

template = json.load(open(sys.argv[1]))
resources = template["resources"]
kinds = sorted({one["type"] for one in (resources.values() if isinstance(resources, dict) else resources)})
assert "Microsoft.Web/sites" in kinds, kinds
print(f"{len(resources)} resources of {len(kinds)} kinds")
RESOURCES
"$compiler" lint infra/main.bicep
# The job takes the text of its settings from a file of the user.
if [ ! -e ingest.azure.toml ]; then
    touch ingest.azure.toml
    trap 'rm -f "$template" ingest.azure.toml' EXIT
fi
"$compiler" build deploy/container-apps-job.bicep --stdout >/dev/null
"$compiler" lint deploy/container-apps-job.bicep
