#!/usr/bin/env bash
# Makes the artefacts of a release for one target: an archive with binary, completions, manual pages, documents, licence
# texts and examples; for Linux a Debian package, too.
#   scripts/release.sh --target TRIPLE [--binary FILE] [--texts FOLDER] [--output FOLDER]
#     --target  x86_64-unknown-linux-musl, aarch64-unknown-linux-musl, x86_64-apple-darwin, aarch64-apple-darwin or
#               x86_64-pc-windows-msvc
#     --binary  pack this binary, build none
#     --texts   a folder that an earlier call has made (OUTPUT/texts), for a binary that does not run on this machine
#     --output  where to write; default: dist
# Linux targets are built with zig as the linker (scripts/build-portable.sh), the others with the machine's own tools.
# Needs Rust, Python 3; cargo-about for the licence texts (installed into target/package-tools); dpkg-deb for the package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo_about=0.9.3

target='' binary='' texts='' output=dist
while [ $# -gt 0 ]; do
    case $1 in
    --target) target=$2 ;;
    --binary) binary=$2 ;;
    --texts) texts=$2 ;;
    --output) output=$2 ;;
    *)
        sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done

case $target in
x86_64-unknown-linux-musl) name=x86_64-linux architecture=amd64 ;;
aarch64-unknown-linux-musl) name=aarch64-linux architecture=arm64 ;;
x86_64-apple-darwin) name=x86_64-macos architecture='' ;;
aarch64-apple-darwin) name=aarch64-macos architecture='' ;;
x86_64-pc-windows-msvc) name=x86_64-windows architecture='' ;;
*)
    echo "release.sh: --target is one of the five above, not \`$target\`" >&2
    exit 2
    ;;
esac

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
tools=${BLOBFERRY_PACKAGE_TOOLS:-$PWD/target/package-tools}
program=blobferry
[ "$name" != x86_64-windows ] || program=blobferry.exe

if [ -z "$binary" ]; then
    case $target in
    *-linux-musl)
        rustup target add "$target"
        scripts/build-portable.sh "$target"
        ;;
    *)
        rustup target add "$target"
        cargo build --release --locked --bin blobferry --target "$target"
        ;;
    esac
    binary=${CARGO_TARGET_DIR:-target}/$target/release/$program
fi
case $target in
*-linux-musl)
    found=$(scripts/portable.sh "$binary" "${target%%-*}")
    [ "$found" = static ] || {
        echo "release.sh: $binary is not static: $found" >&2
        exit 1
    }
    ;;
esac

# Completions, manual pages and licence texts are the same for each target.
if [ -z "$texts" ]; then
    texts=$output/texts
    rm -rf "$texts"
    mkdir -p "$texts/man" "$texts/completions"
    "$binary" man --folder "$texts/man"
    for shell in bash zsh fish powershell; do
        "$binary" completions "$shell" >"$texts/completions/blobferry.$shell"
    done
    if [ "$("$tools/bin/cargo-about" --version 2>/dev/null)" != "cargo-about $cargo_about" ]; then
        cargo install --quiet --locked cargo-about --version "$cargo_about" --features cli --root "$tools"
    fi
    # The texts that the crates themselves have: no service is asked, so that the same release can be made again.
    cargo fetch --quiet --locked
    PATH="$tools/bin:$PATH" cargo about generate --locked --offline --fail scripts/about.hbs >"$texts/THIRD-PARTY-LICENSES.txt"
fi

mkdir -p "$output"
TARGET_NAME=$name VERSION=$version ARCHITECTURE=$architecture BINARY=$binary PROGRAM=$program TEXTS=$texts OUTPUT=$output \
    python3 scripts/release.py
