#!/usr/bin/env bash
# Plays the installation from the artefacts of a release, as made by scripts/release.sh, on a clean Debian that knows
# nothing of Rust or of this checkout: the Debian package by dpkg, the archive by tar; then version, manual page,
# completions, licence texts, links of the documents, the units of systemd, `init` with `check`, and the demo.
# Says how long each way takes from the file to the first run. Needs root, debootstrap and the network.
#   scripts/prove-release.sh [FOLDER]      FOLDER with the artefacts of x86_64; default: dist
#   DEBOOTSTRAP=FILE                       another debootstrap than the installed one
#   MIRROR=URL                             another mirror than Debian's
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(cd "${1:-dist}" && pwd)
deb=$(ls "$folder"/blobferry_*_amd64.deb)
tar=$(ls "$folder"/blobferry-*-x86_64-linux.tar.gz)
[ "$(id -u)" = 0 ] || {
    echo "prove-release.sh: debootstrap and chroot need root" >&2
    exit 1
}

root=$(mktemp -d)
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root"' EXIT
"${DEBOOTSTRAP:-debootstrap}" --variant=minbase bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || {
    tail -n 20 "$root.log" >&2
    exit 1
}
rm -f "$root.log"
# The demo's folder store asks the kernel which file systems are mounted.
mount -t proc proc "$root/proc"

inside() { chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
fail() {
    echo "prove-release.sh: $*" >&2
    exit 1
}
inside sh -c 'command -v cargo || command -v blobferry' && fail "the clean root is not clean"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
cp "$deb" "$tar" "$root/root/"

started=$SECONDS
inside dpkg -i "/root/$(basename "$deb")"
[ "$(inside blobferry --version)" = "blobferry $version" ] || fail "the package holds another version than $version"
inside sh -c 'cd /root && blobferry demo --output /root/from-deb' | tail -n 3
echo "deb: from the file to two runs of the demo in $((SECONDS - started)) s"
for file in usr/share/man/man1/blobferry.1.gz usr/share/bash-completion/completions/blobferry \
    usr/share/doc/blobferry/copyright usr/share/doc/blobferry/THIRD-PARTY-LICENSES.txt \
    usr/lib/systemd/system/blobferry.service usr/lib/systemd/system/blobferry.timer; do
    [ -s "$root/$file" ] || fail "$file is not installed"
done
gzip -dc "$root/usr/share/man/man1/blobferry.1.gz" | grep -q '^\.TH' || fail "the manual page is none"
grep -q 'ExecStart=/usr/bin/blobferry ' "$root/usr/lib/systemd/system/blobferry.service" || fail "the unit starts another program"
inside dpkg --verify blobferry
inside dpkg -r blobferry >/dev/null
[ ! -e "$root/usr/bin/blobferry" ] || fail "the package leaves its program behind"

started=$SECONDS
inside sh -c "cd /root && tar -xzf $(basename "$tar") && cd blobferry-*-linux && ./blobferry demo --output /root/from-tar" | tail -n 1
echo "tar: from the file to two runs of the demo in $((SECONDS - started)) s"
# A first configuration, checked: a folder in, a folder out.
inside sh -c 'mkdir -p /root/in && echo 1 >/root/in/a.csv && cd /root && /root/blobferry-*-linux/blobferry run --config /dev/stdin <<CONFIG
[destination]
folder = "/root/out"
[[source]]
name = "first"
url = "file:///root/in"
stable_for = "0s"
CONFIG'
[ "$(cat "$root/root/out/first/a.csv")" = 1 ] || fail "the first file did not arrive"
# Links between documents hold in the archive.
python3 - "$root"/root/blobferry-*-linux <<'LINKS'
import re, sys
from pathlib import Path

top, broken, seen = Path(sys.argv[1]), [], 0
for page in top.rglob("*.md"):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        seen += 1
        if not (page.parent / link).exists():
            broken.append(f"{page.relative_to(top)}: {link}")
print(f"{seen} links between documents, {len(broken)} broken")
print("\n".join(broken))
sys.exit(bool(broken) or seen < 100)
LINKS
echo "installed, run and removed on a clean Debian: $(basename "$deb"), $(basename "$tar")"
