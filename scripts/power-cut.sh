#!/usr/bin/env bash
# Cuts the power of a folder destination in mid-run, again and again: the file system below it (ext4 and xfs in turns, on a
# loop device) is shut down without a flush, the program is killed, the file system is mounted again. Every file that is
# gone from the source by then must have its blob, byte for byte, and its record; the next run must complete all of it.
# Needs root, xfs_io, mkfs.ext4, mkfs.xfs. Prints its seed.
#
# Usage: scripts/power-cut.sh [trials, 50] [seed]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

trials=${1:-50}
seed=${2:-$RANDOM}
RANDOM=$seed
binary=${BLOBFERRY:-}
if [ -z "$binary" ]; then
    cargo build
    binary=${CARGO_TARGET_DIR:-$PWD/target}/debug/blobferry
fi
folder=$(mktemp -d)
mount_point=$folder/disk
stop() {
    umount "$mount_point" 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
cp "$binary" "$folder/blobferry"
export XDG_STATE_HOME=$folder/state
echo "power-cut.sh: seed $seed"
files=40
mkdir "$mount_point" "$folder/kept"
for n in $(seq $files); do
    mkdir "$folder/kept/d$n"
    head -c $((RANDOM % 6 * 1000000 + 1000)) /dev/urandom >"$folder/kept/d$n/f"
done
find "$folder/kept" -exec touch -d '2020-11-20 10:00' {} +
cat >"$folder/ingest.toml" <<TOML
[destination]
folder = "$mount_point/out"
[[source]]
name = "acme"
url = "file://$folder/source"
after = "delete"
TOML

records() { sed -nE 's/^acme: ([0-9]+) records .*/\1/p' "$folder/audit.txt"; }
wrong() {
    echo "power-cut.sh: trial $trial ($kind, after $delay s): $1" >&2
    cat "$folder/audit.txt" >&2
    exit 1
}
cut=0
for trial in $(seq "$trials"); do
    kind=$([ $((trial % 2)) = 0 ] && echo xfs || echo ext4)
    rm -rf "$folder/disk.img" "$folder/source" "$folder/state"
    cp -a "$folder/kept" "$folder/source"
    truncate -s 1G "$folder/disk.img"
    if [ $kind = xfs ]; then mkfs.xfs -qf "$folder/disk.img"; else mkfs.ext4 -qF "$folder/disk.img"; fi
    mount -o loop "$folder/disk.img" "$mount_point"
    mkdir "$mount_point/out"
    sync
    delay=0.$(printf '%03d' $((RANDOM % 900 + 50)))
    [ $((RANDOM % 3)) = 0 ] && delay=1.$((RANDOM % 900 + 100))
    (cd "$folder" && exec ./blobferry run >run.txt 2>&1) &
    pid=$!
    sleep "$delay"
    xfs_io -x -c shutdown "$mount_point"
    sleep 0.5
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    umount "$mount_point"
    mount -o loop "$folder/disk.img" "$mount_point"
    gone=0
    for n in $(seq $files); do
        [ ! -e "$folder/source/d$n/f" ] || continue
        gone=$((gone + 1))
        cmp -s "$folder/kept/d$n/f" "$mount_point/out/acme/d$n/f" || wrong "d$n/f is gone, and its blob is not it"
    done
    (cd "$folder" && ./blobferry audit >audit.txt 2>&1) || [ $gone = 0 ] || [ -n "$(records)" ] || wrong "the audit failed"
    known=$(records)
    [ "${known:-0}" -ge $gone ] || wrong "$gone files are gone, ${known:-0} are recorded"
    (cd "$folder" && ./blobferry run >run.txt 2>&1) || { cat "$folder/run.txt" >&2; wrong "the next run failed"; }
    (cd "$folder" && ./blobferry audit >audit.txt 2>&1) || wrong "the audit after the next run failed"
    [ "$(records)" = $files ] || wrong "$(records) of $files files are recorded after the next run"
    [ $gone = 0 ] || [ $gone = $files ] || cut=$((cut + 1))
    umount "$mount_point"
done
echo "power-cut.sh: $trials power cuts, $cut of them with some files gone from the source: each had its blob and its record"
