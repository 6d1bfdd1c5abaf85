#!/usr/bin/env bash
# Takes a picture of each page of the status page, in headless Chromium, and lets axe-core look at it.
#   scripts/page-pictures.sh [--docs] [FOLDER]   pictures go to FOLDER; default: target/pages
#   --docs       also puts the pictures of the documentation in place (docs/status-page*.png)
#   BLOBFERRY=…  this binary instead of a debug build
# Three partners are made up: one of which a file is missing, one with a file that cannot be read, one whose server is away.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

docs=
if [ "${1:-}" = --docs ]; then
    docs=yes
    shift
fi
tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
scripts/install-test-tools.sh --browser >/dev/null
if [ -z "${BLOBFERRY:-}" ]; then
    cargo build --locked --bin blobferry
    BLOBFERRY=$PWD/target/debug/blobferry
fi
pictures=${1:-target/pages}
rm -rf "$pictures"
mkdir -p "$pictures"
pictures=$(cd "$pictures" && pwd)

world=$(mktemp -d /tmp/partners.XXXX)
serve=
trap '[ -z "$serve" ] || kill "$serve" 2>/dev/null || true; rm -rf "$world"' EXIT
mkdir -p "$world"/{contoso/daily,fabrikam/reports,stored}
cat >"$world/ingest.toml" <<'TOML'
[destination]
folder = "stored"

[defaults]
stable_for = "0s"
attempts = 1

[[source]]
name = "contoso"
url = "file://WORLD/contoso"
include = ["**"]
  [[source.expect]]
  name = "daily-ledger"
  files = ["daily/ledger_{yyyyMMdd}.csv"]
  by = "00:01"
  [[source.expect]]
  name = "daily-prices"
  files = ["daily/prices_{yyyyMMdd}.csv"]
  by = "00:01"
  grace = "1m"

[[source]]
name = "fabrikam"
url = "file://WORLD/fabrikam"

[[source]]
name = "nordbank"
url = "ftp://user@127.0.0.1:1/"
password = "unused"
TOML
sed -i "s|WORLD|$world|" "$world/ingest.toml"
today=$(date -u +%Y%m%d)
for name in "ledger_$today.csv" sales_eu.csv sales_us.csv; do
    seq 1 4000 >"$world/contoso/daily/$name"
done
head -c 3000000 /dev/zero >"$world/contoso/catalog.bin"
seq 1 500 >"$world/fabrikam/reports/orders.csv"
printf 'PK\003\004 and no more' >"$world/fabrikam/reports/ledger.zip"
run() { (cd "$world" && "$BLOBFERRY" run --quiet >/dev/null 2>&1) || true; }
run
seq 1 9000 >"$world/contoso/daily/sales_eu.csv"
run
run

touch "$world/address"
(cd "$world" && exec "$BLOBFERRY" serve --status --port 0) >"$world/address" 2>/dev/null &
serve=$!
for _ in $(seq 200); do
    grep -q '^http://' "$world/address" && break
    sleep 0.1
done
address=$(grep -o 'http://[^ ]*' "$world/address" | head -n 1)
last=$(find "$world/stored/_blobferry/_runs" -name '*Z-*.json' | sort | tail -n 1)
last=$(basename "$last" .json)
month=$(date -u +%Y-%m)
pages="{\"overview\":\"\",\"source\":\"/sources/fabrikam\",\"source-fine\":\"/sources/contoso\",\"run\":\"/runs/$last\",
\"file\":\"/files/contoso$world/contoso/daily/sales_eu.csv\",\"search\":\"/files?q=sales\",\"search-none\":\"/files?q=nothing\",\"search-absent\":\"/files?q=ledger_20000101.csv\",
\"sources\":\"/sources\",\"runs\":\"/runs\",\"month\":\"/months/$month\"}"
settings() {
    printf '{"address":"%s","pages":%s,"chromium":"%s","tools":"%s","pictures":"%s","mutant":"%s"}' \
        "$address" "$pages" "$tools/browser/chromium" "$tools/browser" "$1" "${2:-}"
}
timeout 1800 "$tools/node/node" tests/browser/pages.mjs "$(settings "$pictures")"
# What looks must be able to see: pale text is found.
mkdir "$world/mutant"
pages='{"overview":""}'
if timeout 900 "$tools/node/node" tests/browser/pages.mjs "$(settings "$world/mutant" 'p{color:#ccc!important}')" >"$world/told"; then
    echo "page-pictures.sh: pale text was not found" >&2
    exit 1
fi
grep -q color-contrast "$world/told"
if [ -n "$docs" ]; then
    cp "$pictures/overview-desktop-light.png" docs/status-page.png
    cp "$pictures/file-desktop-light.png" docs/status-page-file.png
fi
echo "pictures: $pictures"
