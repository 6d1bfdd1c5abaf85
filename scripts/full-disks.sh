#!/usr/bin/env bash
# Disks that are full, and a destination that goes away in mid-run, before a real `blobferry run` with `after = "delete"`:
# each time every file is at the source or in the store, byte for byte; the run tells what is wrong by its exit status and
# a hint that names the place; the next run, once the disk is there and has room, completes all of it, and the audit holds.
# Needs root, xfs_io and mkfs.xfs.
#
# Usage: scripts/full-disks.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=${BLOBFERRY:-}
if [ -z "$binary" ]; then
    cargo build
    binary=${CARGO_TARGET_DIR:-$PWD/target}/debug/blobferry
fi
folder=$(mktemp -d)
disk=$folder/disk
stop() {
    umount -l "$disk" 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
cp "$binary" "$folder/blobferry"
export XDG_STATE_HOME=$folder/state
mkdir "$disk"

# begin NAME FILES BYTES DESTINATION [lines of the configuration]: a new world with so many files of so many bytes.
begin() {
    name=$1 destination=$4
    rm -rf "$folder/state" "$folder/work" "$folder/out"
    mkdir -p "$folder/work/source"
    for n in $(seq "$2"); do head -c "$3" /dev/urandom >"$folder/work/source/f$n"; done
    find "$folder/work/source" -exec touch -d '2020-01-01' {} +
    (cd "$folder/work/source" && md5sum ./*) >"$folder/work/sums"
    printf '[destination]\nfolder = "%s"\n%s\n[[source]]\nname = "acme"\nurl = "file://%s"\nafter = "delete"\nstable_for = "0s"\n' \
        "$4" "${5:-}" "$folder/work/source" >"$folder/work/ingest.toml"
}
wrong() {
    echo "full-disks.sh: $name: $1 (exit status $status)" >&2
    cat "$folder/work/told.txt" >&2
    exit 1
}
run() {
    status=0
    (cd "$folder/work" && timeout 300 "$folder/blobferry" "$@" >told.txt 2>log.txt) || status=$?
}
# ends STATUS PATTERN: how the last command ended, and what it told.
ends() {
    [ "$status" = "$1" ] || wrong "the exit status is not $1"
    grep -qE "$2" "$folder/work/told.txt" || wrong "\`$2\` is not told"
}
safe() {
    local sum file
    while read -r sum file; do
        for place in "$folder/work/source/$file" "$destination/acme/$file"; do
            [ -e "$place" ] && [ "$(md5sum <"$place" | cut -c1-32)" = "$sum" ] && continue 2
        done
        wrong "$file is neither at the source nor in the store"
    done <"$folder/work/sums"
}
# completes PATTERN: with the disk in order, the next run brings the rest.
completes() {
    run run
    ends 0 'ok: '
    safe
    [ -z "$(ls "$folder/work/source")" ] || wrong "files are left at the source"
    run audit
    ends 0 'all of it holds'
    umount "$disk"
    echo "ok: $name"
}

begin "a destination that is full" 12 600000 "$disk/out"
mount -t tmpfs -o size=4m tmpfs "$disk"
for _ in 1 2; do
    run run
    ends 1 "hint: the destination's file system is full"
    safe
done
mount -o remount,size=40m "$disk"
completes

begin "a destination without inodes" 12 600000 "$disk/out"
mount -t tmpfs -o size=40m,nr_inodes=60 tmpfs "$disk"
run run
ends 1 "hint: the destination's file system is full"
safe
mount -o remount,nr_inodes=1000 "$disk"
completes

begin "a full disk of the state" 12 600000 "$folder/out" "[state]
folder = \"$disk/state\""
mount -t tmpfs -o size=48k tmpfs "$disk"
for _ in 1 2; do
    run run
    ends 1 'hint: the file system that `\[state\]` names is full'
    safe
done
mount -o remount,size=40m "$disk"
completes

# Once so many files are stored, the destination goes away as `how` says.
for how in broken unmounted; do
    for stored in 20 200; do
        begin "a destination that is $how after $stored files" 600 60000 "$disk/out"
        truncate -s 400M "$folder/xfs"
        mkfs.xfs -qf "$folder/xfs"
        mount -o loop "$folder/xfs" "$disk"
        mkdir "$disk/out"
        run run &
        for _ in $(seq 3000); do
            [ "$(find "$disk/out/acme" -type f 2>/dev/null | wc -l)" -ge "$stored" ] && break
            sleep 0.02
        done
        if [ $how = broken ]; then xfs_io -x -c shutdown "$disk"; else umount -l "$disk"; fi
        wait
        umount -l "$disk" 2>/dev/null || true
        [ ! -e "$disk/out/.blobferry" ] || wrong "the store's own folder is below the mount point"
        rm -rf "${disk:?}/out"
        for _ in $(seq 100); do mount -o loop "$folder/xfs" "$disk" 2>/dev/null && break || sleep 0.1; done
        status=0
        safe
        completes
    done
done
