#!/usr/bin/env bash
# Runs the fuzzers of fuzz/: each for so many seconds, all of them unless some are named.
#
#   scripts/fuzz.sh [SECONDS] [TARGET…]      # default: 600 s each
#
# Needs a nightly toolchain and `cargo install cargo-fuzz`. What it finds is left in fuzz/artifacts/<target>/ and ends it
# with 1. What it learns stays in fuzz/corpus/<target>/ for the next time. FUZZ_SANITIZER=address looks for memory errors
# in the decoders, too, and takes several times as long; its own memory is not counted against the limit then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PATH="${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}/cargo/bin:$PATH"

seconds=600
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi
sanitizer=${FUZZ_SANITIZER:-none}
memory=512
# Large windows that decoders have freed go back to the system at once: what counts is what they hold.
export MALLOC_MMAP_THRESHOLD_=1048576
if [ "$sanitizer" != none ]; then memory=4096; fi
mapfile -t known < <(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' fuzz/Cargo.toml)
targets=("${known[@]}")
if [ $# -gt 0 ]; then targets=("$@"); fi
for target in "${targets[@]}"; do
    if [[ " ${known[*]} " != *" $target "* ]]; then
        echo "fuzz.sh: there is no target \`$target\`; there are: ${known[*]}" >&2
        exit 2
    fi
done
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz.sh: cargo-fuzz is not installed: cargo install cargo-fuzz" >&2
    exit 2
fi

for target in "${targets[@]}"; do
    cargo +nightly fuzz build --sanitizer "$sanitizer" "$target"
done
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
found=()
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target
    artifacts=fuzz/artifacts/$target
    mkdir -p "$corpus" "$artifacts"
    program=fuzz/target/$host/release/$target
    if [ -d "fuzz/seeds/$target" ]; then cp "fuzz/seeds/$target"/* "$corpus"/; fi
    printf '\n== %s: %s s\n' "$target" "$seconds"
    # A panic is a finding on whatever thread; a whole archive fits into so many bytes.
    if ! BLOBFERRY_FUZZ_SEEDS=$corpus "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=$memory -max_len=16384 \
        -print_final_stats=1 -artifact_prefix="$artifacts/" "$corpus" 2>"$artifacts/log"; then
        found+=("$target")
        tail -n 40 "$artifacts/log"
    fi
    grep -E '^(#[0-9]+\s+DONE|stat::number_of_executed_units|stat::peak_rss_mb)' "$artifacts/log" || true
done

if [ ${#found[@]} -gt 0 ]; then
    printf '\nFindings: %s. The bytes are in fuzz/artifacts/<target>/; to see one again:\n' "${found[*]}" >&2
    printf "  BLOBFERRY_FUZZ='<target> <path>' cargo test --test it -- fuzz::replay::one\n" >&2
    exit 1
fi
printf '\nNo findings.\n'
