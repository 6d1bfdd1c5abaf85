#!/usr/bin/env bash
# Shares that misbehave before a real `blobferry run`: file systems by FUSE (scripts/misbehaving-fs.py), links swapped in
# while runs are at work, a destination that folds case, mounts that are missing; then the time that listing takes beside
# `find`. Needs root, /dev/fuse, python3 with fusepy, mkfs.ext4, mkfs.exfat with mount.exfat-fuse.
#
# Usage: scripts/shares.sh [files of the listing, 1000000]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files=${1:-1000000}
scripts=$PWD/scripts
binary=${BLOBFERRY:-}
if [ -z "$binary" ]; then
    cargo build
    binary=${CARGO_TARGET_DIR:-$PWD/target}/debug/blobferry
fi
folder=$(mktemp -d)
servers=()
stop() {
    for pid in "${servers[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    for at in share disk; do umount -l "$folder/$at" 2>/dev/null || true; done
    [ -z "${loop:-}" ] || losetup -d "$loop" 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
cp "$binary" "$folder/blobferry"
export XDG_STATE_HOME=$folder/state
mkdir "$folder/share" "$folder/disk"

# begin SOURCE DESTINATION [lines of the source]
begin() {
    rm -rf "$folder/work"
    mkdir "$folder/work"
    printf '[destination]\nfolder = "%s"\n[[source]]\nname = "acme"\nurl = "file://%s"\n%s\n' "$2" "$1" "${3:-}" >"$folder/work/ingest.toml"
}
run() { status=0; (cd "$folder/work" && timeout 120 "$folder/blobferry" "$@" >told.txt 2>log.txt) || status=$?; }
expect() {
    grep -qE "$2" "$folder/work/told.txt" && return
    echo "shares.sh: $1: \`$2\` is not told (status $status):" >&2
    cat "$folder/work/told.txt" >&2
    exit 1
}
misbehaving() {
    /usr/bin/python3 "$scripts/misbehaving-fs.py" "$folder/share" "$@" &
    servers+=($!)
    disown
    for _ in $(seq 50); do mountpoint -q "$folder/share" && break; sleep 0.1; done
}
behaved() {
    kill -9 "${servers[-1]}" 2>/dev/null || true
    sleep 0.2
    umount -l "$folder/share" 2>/dev/null || true
}
# misbehaves NAME MODE PATTERN: a run over such a share tells this, and ends.
misbehaves() {
    misbehaving "$2"
    begin "$folder/share" "$folder/work/out" 'stall_timeout = "2s"'
    # What a hung call holds may stay a zombie until the server dies, so the report is waited for.
    (cd "$folder/work" && exec timeout 60 "$folder/blobferry" run >told.txt 2>log.txt) &
    local pid=$!
    for _ in $(seq 600); do
        grep -q '^run ' "$folder/work/told.txt" 2>/dev/null && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    behaved
    wait $pid || status=$?
    expect "$1" "$3"
    echo "ok: $1"
}
misbehaves "an entry that cannot be described hides itself alone" eio 'ingested 19 .* failed 1'
misbehaves "a read that never returns costs one file" hang-read 'ingested 19 .* failed 1'
misbehaves "a folder that never lists is told" hang-list 'stalled'
misbehaves "an entry that is listed twice counts once" twice 'listed 20 = ingested 20'
misbehaves "a busy file is tried again" busy 'ingested 20'
misbehaves "a read that fails once is tried again" stale 'ingested 20'
misbehaves "a file that ends early is not taken" other 'ingested 19 .* failed 1'

mkdir "$folder/swapped"
python3 - "$folder" <<'PY' &
import ctypes, os, sys, time
at = sys.argv[1] + "/swapped/"
libc = ctypes.CDLL(None)
open(at + "a.txt", "w").write("public!!")
open(sys.argv[1] + "/secret", "w").write("SECRET!!")
os.utime(at + "a.txt", (1.6e9, 1.6e9))
os.symlink(sys.argv[1] + "/secret", at + "l.part")
while os.path.exists(at):
    libc.renameat2(-100, (at + "a.txt").encode(), -100, (at + "l.part").encode(), 2)
    time.sleep(3e-5)
PY
servers+=($!)
sleep 0.5
arrived=0
for _ in $(seq 60); do
    begin "$folder/swapped" "$folder/work/out" 'stable_for = "0s"'
    run run --quiet
    if grep -rq SECRET "$folder/work/out"; then echo "shares.sh: bytes from outside of the share" >&2; exit 1; fi
    [ ! -e "$folder/work/out/acme/a.txt" ] || arrived=$((arrived + 1))
done
kill "${servers[-1]}"
[ $arrived -gt 0 ] || { echo "shares.sh: nothing ever arrived, so nothing was tried" >&2; exit 1; }
echo "ok: a link that is swapped in brings nothing from outside ($arrived of 60 runs brought the file)"

truncate -s 200M "$folder/exfat"
mkfs.exfat "$folder/exfat" >/dev/null
loop=$(losetup -f --show "$folder/exfat")
mount.exfat-fuse "$loop" "$folder/disk" >/dev/null 2>&1
mkdir -p "$folder/cases/Data" "$folder/cases/data"
for name in R.csv r.csv Data/x data/X data/y; do echo "$name" >"$folder/cases/$name"; done
find "$folder/cases" -exec touch -d '2020-01-01' {} +
begin "$folder/cases" "$folder/disk/out" 'after = "delete"'
run run
expect "names that fold together" 'ingested 5'
[ "$(find "$folder/cases" -type f | wc -l)" = 0 ]
for name in R.csv r.csv Data/x data/X data/y; do grep -rqx "$name" "$folder/disk/out/acme" || { echo "shares.sh: $name was lost" >&2; exit 1; }; done
run audit
expect "the audit of names that fold together" 'all of it holds'
umount "$folder/disk"
echo "ok: names that fold together stay apart"

# The next file system at this place is a new one.
rm -rf "$folder/state"
truncate -s 100M "$folder/ext4"
mkfs.ext4 -qF "$folder/ext4"
mount -o loop "$folder/ext4" "$folder/disk"
mkdir "$folder/some"
echo 1 >"$folder/some/one"
find "$folder/some" -exec touch -d '2020-01-01' {} +
begin "$folder/some" "$folder/disk/out" 'after = "delete"'
run run
expect "a destination on a mount" 'ingested 1'
umount "$folder/disk"
echo 2 >"$folder/some/two"
touch -d '2020-01-01' "$folder/some/two"
run run
[ -e "$folder/some/two" ] || { echo "shares.sh: a file went below a mount point" >&2; exit 1; }
mount -o loop "$folder/ext4" "$folder/disk"
run run
expect "a destination that is mounted again" 'ingested 1'
run audit
expect "its audit" 'all of it holds'
echo "ok: a destination that is not mounted is refused"
mkdir "$folder/disk/in"
echo 1 >"$folder/disk/in/one"
find "$folder/disk/in" -exec touch -d '2020-01-01' {} +
begin "$folder/disk" "$folder/work/out" 'include = ["in/**"]'
run run
umount "$folder/disk"
run run
expect "a source that is not mounted" 'share_changed'
mount -o loop "$folder/ext4" "$folder/disk"
run run
expect "a source that is mounted again" 'unchanged 1'
umount "$folder/disk"
echo "ok: a source that is not mounted is told"

# As on sshfs and NFS with `nolock`: the system grants every lock, so that files have to keep them; then as where it grants
# none (ENOLCK), which the program finds out by itself.
cat >"$folder/flock.c" <<'C'
#include <errno.h>
#include <stdlib.h>
int flock(int fd, int operation) {
    if (!getenv("NO_LOCKS")) return 0;
    errno = ENOLCK;
    return -1;
}
C
cc -shared -fPIC -o "$folder/flock.so" "$folder/flock.c"
mkdir "$folder/shared"
for n in $(seq 300); do echo "$n" >"$folder/shared/f$n"; done
find "$folder/shared" -exec touch -d '2020-01-01' {} +
for no_locks in '' yes; do
    begin "$folder/shared" "$folder/work/out"
    mkdir -p "$folder/work/out/.blobferry/locks"
    [ -n "$no_locks" ] || touch "$folder/work/out/.blobferry/locks/by-files"
    runs=()
    for n in 1 2 3; do
        (
            cd "$folder/work"
            export LD_PRELOAD=$folder/flock.so
            [ -z "$no_locks" ] || export NO_LOCKS=1
            timeout 300 "$folder/blobferry" run >"told$n.txt" 2>log.txt
        ) &
        runs+=($!)
    done
    status=0
    for pid in "${runs[@]}"; do wait "$pid" || status=$?; done
    cat "$folder"/work/told[123].txt >"$folder/work/told.txt"
    if [ $status != 0 ]; then echo "shares.sh: runs disturbed each other:" >&2; cat "$folder/work/told.txt" >&2; exit 1; fi
    expect "runs side by side" 'ingested 300'
    [ -e "$folder/work/out/.blobferry/locks/by-files" ]
    left=$(find "$folder/work/out/.blobferry/locks" -name '*.held' | wc -l)
    [ "$left" = 0 ] || { echo "shares.sh: $left lock files are left" >&2; exit 1; }
    run audit
    expect "the audit of runs side by side" 'all of it holds'
done
echo "ok: runs side by side, where the locks of the system are no locks"

mkdir "$folder/many"
python3 - "$folder/many" "$files" <<'PY'
import os, sys
os.chdir(sys.argv[1])
for n in range(int(sys.argv[2])):
    os.close(os.open(f"file-{n:07}", os.O_CREAT | os.O_WRONLY))
PY
begin "$folder/many" "$folder/work/out" 'exclude = ["**"]'
milliseconds() { date +%s%3N; }
find "$folder/many" -printf '%s %T@\n' >/dev/null
start=$(milliseconds)
find "$folder/many" -printf '%s %T@\n' >/dev/null
middle=$(milliseconds)
run plan
end=$(milliseconds)
echo "listing $files files in one folder: find with sizes and times $((middle - start)) ms, blobferry plan $((end - middle)) ms"
