#!/usr/bin/env bash
# Runs what takes too long for the gate (.ci/run): each step within a time budget, one after the other, on after a
# failed one. Prints what each took and `N passed, N failed`; ends with 1 if a step failed, with 2 if it was called wrongly.
#
#   scripts/nightly.sh              all steps
#   scripts/nightly.sh STEP…        these, in this order
#   scripts/nightly.sh --list       the steps, their budgets, what they need
#
# A step whose tool is missing fails and says what to install. The output of each step, and `record.tsv` with date, commit,
# machine, step, seconds, budget and result, go to a new folder below .nightly/, which git ignores.
#
#   NIGHTLY_PATIENCE=2           multiplies every budget, for slow machines
#   NIGHTLY_SCHEDULES=1000000    of `simulate`
#   NIGHTLY_LIES=200000          of `lies`
#   NIGHTLY_WIRE=20000           of `wire-lies`
#   NIGHTLY_KILLS=200            of `kills`
#   NIGHTLY_CUTS=50              of `power-cuts`
#   NIGHTLY_FUZZ_SECONDS=600     of `fuzz`, for each target
#   NIGHTLY_FILES=1000000        of `ledger`, known files
#   NIGHTLY_FOLDER=.nightly      where records go
#   NIGHTLY_STEPS=FILE           other steps than those below, for tests of this script
{ # Read to its end before it begins: it may be changed while a night goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
export BLOBFERRY_TEST_TOOLS=$tools
names=()
declare -A budget needs purpose action

# step NAME SECONDS NEEDS PURPOSE COMMAND…: NEEDS are words of `missing`, with commas between them.
step() {
    names+=("$1")
    budget[$1]=$(($2 * ${NIGHTLY_PATIENCE:-1}))
    needs[$1]=$3
    purpose[$1]=$4
    shift 4
    action[${names[-1]}]=$(printf '%q ' "$@")
}

# What to install for a need that is not met; nothing if it is.
missing() {
    local install="run scripts/install-test-tools.sh"
    case $1 in
    azurite) [ -e "$tools/node/node_modules/azurite/dist/src/azurite.js" ] || echo "Azurite: $install" ;;
    servers) [ -e "$tools/debian/.stamp" ] || echo "sshd, vsftpd, pure-ftpd, proftpd (Debian, Ubuntu): $install" ;;
    rclone) [ -x "$tools/python/bin/rclone" ] || echo "rclone: $install" ;;
    root) [ "$(id -u)" = 0 ] || echo "root: sudo -E env \"PATH=\$PATH\" \"HOME=\$HOME\" scripts/nightly.sh" ;;
    nightly) rustc +nightly --version >/dev/null 2>&1 || echo "a nightly toolchain: rustup toolchain install nightly" ;;
    cargo-fuzz) PATH="$tools/cargo/bin:$PATH" cargo fuzz --version >/dev/null 2>&1 || echo "cargo-fuzz: cargo install cargo-fuzz" ;;
    minimum-rust) rustup run "$toolchain" rustc --version >/dev/null 2>&1 || echo "Rust $rust: rustup toolchain install $rust --profile minimal" ;;
    cargo) command -v cargo >/dev/null || echo "Rust: https://rustup.rs" ;;
    cc) command -v cc >/dev/null || echo "a C compiler: apt-get install gcc" ;;
    git) command -v git >/dev/null || echo "git: apt-get install git" ;;
    npm) command -v npm >/dev/null || echo "Node.js with npm: https://nodejs.org" ;;
    python3) python3 -c 'import venv' 2>/dev/null || echo "Python 3 with venv: apt-get install python3-venv" ;;
    free-ports)
        local port
        for port in 2121 2222 10000; do
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "port $port: stop what listens there"; fi
        done
        ;;
    fusepy)
        /usr/bin/python3 -c 'import sys; sys.path.insert(0, "/usr/lib/python3/dist-packages"); import fusepy' 2>/dev/null ||
            echo "fusepy: apt-get install python3-fusepy"
        ;;
    faketime) [ -n "$(find /usr/lib /usr/local/lib -name libfaketimeMT.so.1 2>/dev/null)" ] || echo "libfaketime: apt-get install libfaketime" ;;
    mkfs.ext4) command -v mkfs.ext4 >/dev/null || echo "mkfs.ext4: apt-get install e2fsprogs" ;;
    mkfs.xfs | xfs_io) command -v "$1" >/dev/null || echo "$1: apt-get install xfsprogs" ;;
    mkfs.exfat) command -v mkfs.exfat >/dev/null || echo "mkfs.exfat: apt-get install exfatprogs" ;;
    mount.exfat-fuse) command -v mount.exfat-fuse >/dev/null || echo "mount.exfat-fuse: apt-get install exfat-fuse" ;;
    readelf) command -v readelf >/dev/null || echo "readelf: apt-get install binutils" ;;
    *) command -v "$1" >/dev/null || echo "$1" ;;
    esac
}

rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
# `1.95` may be installed as `1.95.0`.
toolchain=$(rustup toolchain list 2>/dev/null | grep -oE "^${rust//./\\.}(\.[0-9]+)?-[^ ]+" | head -n 1 || true)
toolchain=${toolchain:-$rust}
if [ -n "${NIGHTLY_STEPS:-}" ]; then
    # shellcheck disable=SC1090
    . "$NIGHTLY_STEPS"
else
    fuzzers=$(grep -c '^path = "fuzz_targets/' fuzz/Cargo.toml)
    fuzz_seconds=${NIGHTLY_FUZZ_SECONDS:-600}
    step minimum-rust 1800 cargo,cc,minimum-rust "compiles with the rust-version of Cargo.toml" \
        rustup run "$toolchain" cargo check --locked --lib --bins
    step benches 3600 cargo,cc "the benchmarks of parts compile" cargo bench --locked --no-run
    step kills 3600 cargo,cc,azurite,servers,rclone,python3 "kill -9 at random moments, every byte compared in the end" \
        scripts/kill-200.sh "${NIGHTLY_KILLS:-200}"
    step power-cuts 5400 cargo,cc,root,mkfs.ext4,mkfs.xfs,xfs_io "power cuts of a folder destination on ext4 and xfs" \
        scripts/power-cut.sh "${NIGHTLY_CUTS:-50}"
    step shares 5400 cargo,cc,root,python3,fusepy,mkfs.ext4,mkfs.exfat,mount.exfat-fuse \
        "shares that hang, err, fold case, are swapped or not mounted" scripts/shares.sh
    step full-disks 1800 cargo,cc,root,mkfs.xfs,xfs_io "full disks, and a destination that goes away in mid-run" scripts/full-disks.sh
    step failpoints 5400 cargo,cc,azurite,servers "a process stopped at every failpoint in every way" scripts/failpoints.sh
    step eight-handlers 2400 cargo,cc,azurite,servers "eight handlers on one queue, killed at random" scripts/eight-handlers.sh
    step two-hosts 2400 cargo,cc,azurite "what a dead host had in hand is taken by another within two minutes" scripts/two-hosts.sh
    step memory 5400 cargo,cc,azurite,servers "10 GiB through each protocol in bounded memory" scripts/measure-memory.sh
    step members 3600 cargo,cc,python3 "a zip of a million members arrives whole, within 400 MiB" \
        bash -c 'cargo build --release && scripts/many-members.py --binary target/release/blobferry --most-mib 400'
    step plan 3600 cargo,cc,python3 "a plan of a million files, within 256 MiB" \
        bash -c 'cargo build --release && scripts/many-files.py --binary target/release/blobferry --most-mib 256'
    step pages 3600 cargo,cc,python3 "the status page over a thousand sources and a million files, within 300 ms" \
        bash -c 'cargo build --release && scripts/many-pages.py --binary target/release/blobferry --most-ms 300'
    step ledger 5400 cargo,cc "a ledger of a million files: memory, requests" scripts/measure-ledger.sh "${NIGHTLY_FILES:-1000000}"
    step load 3600 cargo,cc,python3 "dead sources hold up nobody; a folder of 100,000 entries" scripts/load.sh
    # A page of a night's run is for comparing with docs/matrix.md; nothing that is committed is written over.
    step matrix 3600 cargo,cc,python3,rclone "misbehaving servers before blobferry and rclone" \
        scripts/matrix.sh --out target/nightly-matrix.md
    step deliveries 5400 cargo,cc,servers,python3,faketime "a month of expected files on a clock of its own, beside a calculation" \
        scripts/deliveries.sh 30
    step zones 2400 cargo,cc,python3 "deadlines of every time zone beside Python's zoneinfo" \
        cargo test --locked --test it -- --ignored --exact \
        expect::calendar::deadlines_of_every_zone_in_three_years_are_those_of_zoneinfo
    step key-vault 1200 cargo,cc "an app beside a key vault whose secret changes" \
        cargo test --locked --test it -- --ignored --exact \
        key_vault::the_app_knows_a_changed_secret_after_a_minute \
        key_vault::an_app_whose_destination_waits_for_a_vault_works_once_the_vault_answers
    step servers 3600 cargo,cc,python3,root,npm "the full cycle against servers of other projects" scripts/servers.sh
    step listings 900 python3,npm "lines of listings held against parsers of other projects" scripts/listings.sh
    step package 5400 cargo,cc,python3,readelf,root,azurite "the package for Azure: portable, and it runs" scripts/prove-package.sh
    step browser 3600 cargo,cc,azurite "the status page in a browser" scripts/browser-test.sh
    step tutorial 5400 cargo,cc,git,npm,python3,free-ports "docs/tutorial.md, word for word" scripts/play-tutorial.sh
    step kql 600 npm "queries of alerts and workbook before Microsoft's parser" scripts/kql.sh
    step benchmarks 7200 cargo,cc,python3 "whole runs beside other tools, at small scale" \
        scripts/bench.sh --scale small --rounds 1
    step fuzz $((fuzzers * (fuzz_seconds + 60) + 3600)) cargo,cc,nightly,cargo-fuzz "every fuzzer" scripts/fuzz.sh "$fuzz_seconds"
    step simulate 28800 cargo,cc "schedules of crashes, lost answers, two workers" scripts/simulate.sh "${NIGHTLY_SCHEDULES:-1000000}"
    step lies 14400 cargo,cc "schedules of servers that lie" scripts/lies.sh --seeds "0..${NIGHTLY_LIES:-200000}"
    step wire-lies 14400 cargo,cc "schedules of servers that lie by bytes" \
        scripts/lies.sh --level wire --seeds "0..${NIGHTLY_WIRE:-20000}"
    step floods 3600 cargo,cc "memory before servers that send without end" scripts/floods.sh
fi

chosen=()
for word in "$@"; do
    case $word in
    --list)
        for name in "${names[@]}"; do
            printf '%-15s %6s s  %s\n%27sneeds %s\n' "$name" "${budget[$name]}" "${purpose[$name]}" '' "${needs[$name]//,/, }"
        done
        exit 0
        ;;
    *)
        if [ -z "${budget[$word]:-}" ]; then
            echo "nightly.sh: there is no step \`$word\`; there are: ${names[*]}" >&2
            exit 2
        fi
        chosen+=("$word")
        ;;
    esac
done
if [ ${#chosen[@]} = 0 ]; then chosen=("${names[@]}"); fi
command -v timeout >/dev/null || {
    echo "nightly.sh: there is no \`timeout\`, which holds the budgets: install GNU coreutils" >&2
    exit 2
}

# Two nights of one second have folders of their own.
began=$(date -u +%Y-%m-%dT%H%M%SZ)
folder=${NIGHTLY_FOLDER:-.nightly}
mkdir -p "$folder"
folder=$(mktemp -d "$folder/$began-XXXX")
record=$folder/record.tsv
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit=$commit+changes
machine="$(uname -n), $(uname -sm), $(nproc) cores"
printf 'date\tcommit\tmachine\tstep\tseconds\tbudget\tresult\n' >"$record"
running=
# `timeout` leads a group of its own, which Ctrl-C does not reach.
trap '[ -z "$running" ] || kill "$running" 2>/dev/null || true; echo "nightly.sh: stopped; $record" >&2; exit 130' INT TERM

# Runs a step and sets `result`.
run() {
    local name=$1 lacking='' need words started=$SECONDS status=0
    IFS=, read -ra words <<<"${needs[$name]}"
    for need in "${words[@]}"; do
        lacking+=$(missing "$need" | sed 's/$/; /')
    done
    if [ -n "$lacking" ]; then
        result="failed: missing ${lacking%; }"
        return
    fi
    # In a shell of its own, and what it leaves behind ends a minute after its budget at the latest.
    timeout --kill-after=60 "${budget[$name]}" bash -c "${action[$name]}" >"$folder/$name.log" 2>&1 &
    running=$!
    wait "$running" || status=$?
    running=
    if [ $status = 0 ]; then
        result=passed
    elif [ $((SECONDS - started)) -ge "${budget[$name]}" ]; then
        result="failed: over its budget of ${budget[$name]} s"
    else
        result="failed: status $status"
    fi
}

passed=0 failed=0 lines=()
for name in "${chosen[@]}"; do
    printf '== %s (at most %s s): %s\n' "$name" "${budget[$name]}" "${purpose[$name]}"
    started=$SECONDS result=
    date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    run "$name"
    seconds=$((SECONDS - started))
    if [ "$result" = passed ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        [ ! -e "$folder/$name.log" ] || tail -n 40 "$folder/$name.log" | sed 's/^/   | /'
    fi
    printf '   %s after %s s\n' "$result" "$seconds"
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$date" "$commit" "$machine" "$name" "$seconds" "${budget[$name]}" "$result" >>"$record"
    lines+=("$(printf '%7s s  %-15s %s' "$seconds" "$name" "$result")")
done

printf '\n%s\n' "What each took:"
printf '%s\n' "${lines[@]}"
printf '%s passed, %s failed\nrecord: %s\n' "$passed" "$failed" "$record"
[ "$failed" = 0 ] || exit 1
exit 0
}
