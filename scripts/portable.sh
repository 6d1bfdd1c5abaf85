#!/usr/bin/env bash
# Says whether a Linux binary runs on machines other than this one: it is static, or asks for no glibc newer
# than 2.28 (Debian 10, RHEL 8, every Azure Functions instance known to us). Exits 1 if it does not.
#   scripts/portable.sh BINARY [x86_64|aarch64]     x86_64, which Azure Functions needs, where nothing is said
set -euo pipefail
binary=${1:?usage: scripts/portable.sh BINARY [x86_64|aarch64]}
newest=2.28

header=$(readelf --file-header --wide "$binary")
case ${2:-x86_64} in
x86_64) machine='Advanced Micro Devices X86-64' needed='for x86-64, which Azure Functions needs' ;;
aarch64) machine=AArch64 needed='for aarch64' ;;
*)
    echo "portable.sh: the machine is x86_64 or aarch64, not \`$2\`" >&2
    exit 2
    ;;
esac
case $header in
*"$machine"*) ;;
*)
    echo "portable.sh: $binary is not $needed" >&2
    exit 1
    ;;
esac
if ! readelf --program-headers --wide "$binary" | grep -q 'INTERP' && ! readelf --dynamic --wide "$binary" | grep -q '(NEEDED)'; then
    echo "static"
    exit 0
fi
found=$(readelf --version-info --wide "$binary" | grep -o 'GLIBC_[0-9][0-9.]*' | sort --version-sort --unique | tail -n 1)
if [ -z "$found" ]; then
    echo "portable.sh: $binary is neither static nor linked with glibc" >&2
    exit 1
fi
if [ "$(printf '%s\n' "GLIBC_$newest" "$found" | sort --version-sort | tail -n 1)" != "GLIBC_$newest" ]; then
    echo "portable.sh: $binary asks for $found; the oldest machines have GLIBC_$newest" >&2
    exit 1
fi
echo "$found"
