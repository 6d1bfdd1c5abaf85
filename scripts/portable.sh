#!/usr/bin/env bash
# Says whether a Linux binary runs on machines other than this one: it is static, or asks for no glibc newer
# than 2.28 (Debian 10, RHEL 8, every Azure Functions instance known to us). Exits 1 if it does not.
#   scripts/portable.sh BINARY
set -euo pipefail
binary=${1:?usage: scripts/portable.sh BINARY}
newest=2.28

header=$(readelf --file-header --wide "$binary")
case $header in
*"Advanced Micro Devices X86-64"*) ;;
*)
    echo "portable.sh: $binary is not for x86-64, which Azure Functions needs" >&2
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
