#!/usr/bin/env bash
# Clicks through the status page in headless Chromium: on a live run, dark and light, with and without JavaScript.
#   scripts/browser-test.sh [FOLDER]     pictures of each step go to FOLDER; default: target/browser
# Then scripts/page-pictures.sh looks at each page with axe-core.
# Installs Chromium (if this system has none) and playwright-core into .test-tools/ first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install-test-tools.sh --browser
pictures=${1:-target/browser}
rm -rf "$pictures"
mkdir -p "$pictures"
pictures=$(cd "$pictures" && pwd)
REQUIRE_BROWSER=1 BROWSER_PICTURES=$pictures cargo test --test it -- browser:: --nocapture
[ "$(find "$pictures" -name '*.png' | wc -l)" -ge 12 ] || {
    echo "browser-test.sh: the test took no pictures: did it run at all?" >&2
    exit 1
}
echo "pictures: $pictures"
scripts/page-pictures.sh
