#!/usr/bin/env bash
# Tries on a real subscription what docs/platform.md assumes, and writes its tables again with what was seen.
#   scripts/verify-azure.sh --group RESOURCE_GROUP --app FUNCTION_APP --account LANDING_ACCOUNT [--report FILE] [--kill] [--vault VAULT]
#     --group    the resource group of a deployment (`azd up`)
#     --app      its function app
#     --account  its account with the files; scratch containers are made there and removed again
#     --report   where to write; default: verify-azure.md
#     --kill     also restarts the app in the middle of a run
#     --vault    the name of a key vault where you may write and read secrets; one is made there and removed again
# Needs `az` (logged in, with the role Storage Blob Data Owner on the account), curl, python3, and `blobferry` on the PATH
# or in BLOBFERRY. Costs a few runs and some blobs. Immutability, namespaces and tiers are tried in scratch containers
# and a scratch account `stverify…` in the same group, which is removed at the end.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

group='' app='' account='' report=verify-azure.md kill='' vault=''
while [ $# -gt 0 ]; do
    case $1 in
    --group) group=$2 && shift ;;
    --app) app=$2 && shift ;;
    --account) account=$2 && shift ;;
    --report) report=$2 && shift ;;
    --kill) kill=yes ;;
    --vault) vault=$2 && shift ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
    esac
    shift
done
if [ -z "$group" ] || [ -z "$app" ] || [ -z "$account" ]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
fi
ferry=${BLOBFERRY:-blobferry}
work=$(mktemp -d)
scratch="verify$(date +%s)"
seen="$work/seen" # lines: text of a table's first cell (or a part of it), a tab, what was seen
: >"$seen"
trap 'tidy' EXIT

tidy() {
    for container in "$scratch-worm" "$scratch-plain"; do
        az storage container delete --account-name "$account" --name "$container" --auth-mode login --output none 2>/dev/null || true
    done
    [ -z "$vault" ] || az keyvault secret delete --vault-name "$vault" --name "$scratch" --output none 2>/dev/null || true
    az storage account delete --resource-group "$group" --name "st$scratch" --yes --output none 2>/dev/null || true
    rm -rf "$work"
}
note() { printf '%s\t%s\n' "$1" "$2" >>"$seen" && printf '%-60s %s\n' "$1" "$2" >&2; }
json() { python3 -c 'import json,sys
value=json.load(open(sys.argv[1]))
for part in sys.argv[2:]: value=value[int(part)] if part.isdigit() else value.get(part)
print(value if isinstance(value,str) else json.dumps(value))' "$@" 2>/dev/null || echo '?'; }

host=$(az functionapp show --resource-group "$group" --name "$app" --query defaultHostName --output tsv)
key_of() { az functionapp function keys list --resource-group "$group" --name "$app" --function-name "$1" --query default --output tsv; }
start=$(key_of IngestHttp) look=$(key_of IngestStatus)
master=$(az functionapp keys list --resource-group "$group" --name "$app" --query masterKey --output tsv)
# Keys go by a file: arguments can be read by every user of this machine.
printf 'header = "x-functions-key: %s"\n' "$start" >"$work/start"
printf 'header = "x-functions-key: %s"\n' "$look" >"$work/look"
printf 'header = "x-functions-key: %s"\n' "$master" >"$work/master"
chmod 600 "$work"/*
ask() { # ask KEYS METHOD PATH OUTPUT [more of curl]: the status
    local keys=$1 method=$2 path=$3 output=$4
    shift 4
    curl --silent --config "$work/$keys" --request "$method" --output "$work/$output" --write-out '%{http_code}' "$@" "https://$host$path"
}
runs() { json "$work/$1" runs | python3 -c 'import json,sys; print(len(json.load(sys.stdin)))' 2>/dev/null || echo 0; }
wait_for_run() { # wait_for_run ID: its status once it has ended
    local status=running
    for _ in $(seq 1 120); do
        ask look GET "/api/ingest/runs/$1" run >/dev/null
        status=$(json "$work/run" status)
        [ "$status" = running ] || break
        sleep 5
    done
    echo "$status"
}

where() {
    ask look GET '/api/ingest/runs?limit=1' list >/dev/null
    local place signs
    place=$(json "$work/list" place) signs=$(json "$work/list" signs)
    note 'place' "$place"
    for name in FUNCTIONS_CORETOOLS_ENVIRONMENT WEBSITE_SITE_NAME MANAGED_ENVIRONMENT WEBSITE_SKU WEBSITE_INSTANCE_ID \
        LEGION_SERVICE_HOST CONTAINER_NAME WEBSITE_POD_NAME WEBSITE_HOSTNAME AZURE_FUNCTIONS_ENVIRONMENT KUBERNETES_SERVICE_HOST; do
        case "$signs" in *"\"$name\""*) note "\`$name\`" "set; $place" ;; *) note "\`$name\`" 'not set' ;; esac
    done
}

functions() {
    local code id before
    ask look GET '/api/ingest/runs?limit=100' list >/dev/null
    before=$(runs list)
    code=$(ask master POST /admin/functions/IngestTimer timer --header 'Content-Type: application/json' --data '{"input":"x"}')
    note 'INGEST_SCHEDULE' "the timer, called by hand: $code"
    code=$(ask start POST /api/ingest started --header 'Content-Type: application/json' --data '{}')
    id=$(json "$work/started" id)
    note 'the host answers a request before its queue message is handled' "POST: $code, joined $(json "$work/started" joined)"
    note 'AzureWebJobsStorage' "the run by the queue: $(wait_for_run "$id"); runs before: $before"
    code=$(ask start POST /api/ingest chunked --header 'Transfer-Encoding: chunked' --header 'Content-Type: application/json' --data '{}')
    note 'a body that came in chunks' "$code"
    head --bytes=2000000 /dev/zero | tr '\0' x >"$work/large-body"
    code=$(ask start POST /api/ingest large --header 'Content-Type: text/plain' --data-binary "@$work/large-body")
    note 'a payload is at most about twice' "2 MB: $code"
    if [ -n "$kill" ]; then
        ask start POST /api/ingest started --header 'Content-Type: application/json' --data '{}' >/dev/null
        id=$(json "$work/started" id)
        az functionapp restart --resource-group "$group" --name "$app" --output none
        note 'the host kills, and sends no signal' "a run over which the app was restarted: $(wait_for_run "$id")"
    fi
    code=$(az storage account show --name "$account" --query allowSharedKeyAccess --output tsv)
    note 'AZURE_CLIENT_ID' "files arrive with an identity; keys of the account are allowed: $code"
}

check() { # check ACCOUNT CONTAINER: what `blobferry check` says of it, with the identity of whoever is logged in
    printf '[destination]\naccount = "%s"\ncontainer = "%s"\nidentity = "cli"\n[log]\nfiles = false\n[[source]]\nname = "verify"\nurl = "file://%s/files"\nstable_for = "0s"\n' \
        "$1" "$2" "$work" >"$work/ingest.toml"
    "$ferry" check --config "$work/ingest.toml" 2>&1 || true
}
run() { "$ferry" run --config "$work/ingest.toml" 2>&1 || true; }
codes() { grep --only-matching --extended-regexp '[A-Z][A-Za-z]+ \([45][0-9][0-9]\)' | sort --unique | paste --serial --delimiters ' ' || true; }

storage() {
    mkdir -p "$work/files/a/b" && echo one >"$work/files/a/b/c"
    check "$account" "$scratch-plain" >"$work/plain"
    note '409 `BlobAlreadyExists`' "a plain container: $(grep --count '^ok ' "$work/plain") steps well, $(grep --count '^FAIL' "$work/plain" || true) failed; run: $(run | head -n 1)"

    az storage container create --account-name "$account" --name "$scratch-worm" --auth-mode login --output none
    az storage container immutability-policy create --resource-group "$group" --account-name "$account" --container-name "$scratch-worm" --period 1 --output none
    check "$account" "$scratch-worm" >"$work/worm"
    note '`BlobImmutableDueToPolicy`' "$(codes <"$work/worm"); run: $(run | codes)"
    note '`x-ms-has-immutability-policy`' "$(grep 'policy:' "$work/worm" | head -n 1)"
    az storage container immutability-policy delete --resource-group "$group" --account-name "$account" --container-name "$scratch-worm" --if-match '*' --output none || true

    az storage blob upload --account-name "$account" --container-name "$scratch-plain" --name verify/cold --file "$work/files/a/b/c" --auth-mode login --output none
    az storage blob set-tier --account-name "$account" --container-name "$scratch-plain" --name verify/cold --tier Archive --auth-mode login --output none
    az storage blob download --account-name "$account" --container-name "$scratch-plain" --name verify/cold --file "$work/cold" --auth-mode login >"$work/tier" 2>&1 || true
    note '`BlobArchived`' "reading an archived blob: $(grep --only-matching 'BlobArchived' "$work/tier" | head -n 1)"

    az storage account create --resource-group "$group" --name "st$scratch" --kind StorageV2 --sku Standard_LRS --hns true --allow-shared-key-access false --output none
    az role assignment create --assignee "$(az ad signed-in-user show --query id --output tsv)" --role 'Storage Blob Data Owner' \
        --scope "$(az storage account show --name "st$scratch" --query id --output tsv)" --output none
    sleep 180 # a new role takes some minutes to hold
    check "st$scratch" landing >"$work/hns"
    note '`x-ms-is-hns-enabled`' "$(grep 'account:' "$work/hns" | head -n 1)"
    run >"$work/first"
    rm -r "$work/files/a/b" && echo two >"$work/files/a/b"
    note '`hdi_isfolder`' "a folder that became a file: $(run | grep 'note:' | head -n 1)"
    rm "$work/files/a/b" && rm -r "$work/files/a" && mkdir -p "$work/files/verify" && echo three >"$work/files/a"
    note 'PathConflict' "$(run | codes)"
}

secrets() {
    [ -n "$vault" ] || return 0
    az keyvault secret set --vault-name "$vault" --name "$scratch" --value "file://$work/files" --output none
    check "$account" "$scratch-plain" >/dev/null # writes the configuration
    local url="https://$vault.vault.azure.net/secrets/$scratch"
    sed --in-place "s|^url = .*|url = { keyvault = \"$url\" }|" "$work/ingest.toml"
    note 'names the audience of its tokens' "a source whose url is a secret: $(run | head -n 1)"
    sed --in-place "s|secrets/$scratch|secrets/$scratch-none|" "$work/ingest.toml"
    note '`SecretNotFound`' "a secret that is not there: $(run | grep --only-matching --extended-regexp 'SecretNotFound|Forbidden[A-Za-z]*' | head -n 1)"
}

alerts() {
    az monitor scheduled-query list --resource-group "$group" --query '[].[name,windowSize,enabled]' --output tsv >"$work/alerts"
    note 'APPLICATIONINSIGHTS_CONNECTION_STRING' "alert rules that the service took: $(paste --serial --delimiters ';' "$work/alerts" | tr '\t' ' ')"
}

where
functions
storage
secrets
alerts
python3 - "$here/docs/platform.md" "$seen" "$report" <<'PY'
import sys
page, seen, report = sys.argv[1:]
found = [line.rstrip("\n").split("\t", 1) for line in open(seen, encoding="utf-8")]
out, rows, tried = [], 0, 0
for line in open(page, encoding="utf-8"):
    line = line.rstrip("\n")
    if line.startswith("| ") or line.startswith("|--"):
        first = line.split("|")[1]
        if line.startswith("|--"):
            line += "---|"
        elif first.strip() in ("variable", "variable or rule", "rule"):
            line += " seen |"
        else:
            rows += 1
            what = "; ".join(text for key, text in found if key in first)
            tried += bool(what)
            line += f" {what.replace('|', '/') or 'not tried'} |"
    out.append(line)
open(report, "w", encoding="utf-8").write("\n".join(out) + "\n")
print(f"{report}: {tried} of {rows} assumptions tried")
PY
