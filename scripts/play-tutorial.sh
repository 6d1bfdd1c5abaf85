#!/usr/bin/env bash
# Plays docs/tutorial.md and docs/landing-zone.md word for word in a fresh clone, up to where they need a subscription: every command must
# succeed, and what is printed must be what the page shows. What is not committed is not played.
#   scripts/play-tutorial.sh [--binary FILE]
#     --binary  take this binary instead of building one: `cargo install` is then left out, and said to be
# Needs what the tutorial needs: git, Rust, a C compiler, Node.js with npm, and the ports 2121, 2222 and 10000.
# CARGO_TARGET_DIR and CARGO_PROFILE_RELEASE_… are heeded, as by every cargo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=
if [ "${1:-}" = --binary ]; then
    binary=$(realpath "$2")
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
git clone --quiet --no-hardlinks . "$place/blobferry"
mkdir "$place/home"
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
export CARGO_INSTALL_ROOT=$place/home/.local HOME=$place/home
export PATH=$CARGO_INSTALL_ROOT/bin:$PATH NO_COLOR=1
# Settings of this machine are none of the tutorial's.
for name in $(compgen -e | grep -E '^(BLOBFERRY_|OTEL_|APPLICATIONINSIGHTS_|DEMO_PASSWORD)' || true); do unset "$name"; done
if [ -n "$binary" ]; then
    install -D -m 755 "$binary" "$CARGO_INSTALL_ROOT/bin/blobferry"
    export PLAY_WITHOUT='cargo install'
fi
cd "$place/blobferry"
python3 scripts/play_tutorial.py docs/tutorial.md
python3 scripts/play_tutorial.py docs/landing-zone.md
