#!/usr/bin/env bash
# Runs all tests, those with real servers included. Usage: scripts/test.sh [what cargo test takes]
#
#   REQUIRE_SERVERS=0   a missing server leaves its tests out instead of failing them
#   REQUIRE_ROOT=1      fails unless it runs as root, so that nothing is left out
#   RUST_TEST_THREADS=N tests at once; as many as cores by default
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
export REQUIRE_SERVERS=${REQUIRE_SERVERS:-1}

if ! scripts/install-test-tools.sh; then
    [ "$REQUIRE_SERVERS" = 0 ] || {
        echo "test.sh: the servers above are missing; REQUIRE_SERVERS=0 runs the tests without them" >&2
        exit 1
    }
    echo "LEFT OUT: the tests with the servers that are missing above" >&2
elif [ ! -e "$tools/debian/.stamp" ] && [ "$REQUIRE_SERVERS" != 0 ]; then
    if [ "${CI:-}" = true ]; then
        echo "test.sh: the servers come as Debian packages, and CI leaves nothing out: run it on Debian or Ubuntu" >&2
        exit 1
    fi
    echo "LEFT OUT: the tests with sshd, vsftpd, pure-ftpd and proftpd, which are installed on Debian and Ubuntu only" >&2
    export REQUIRE_SERVERS=0
fi

if [ "$(id -u)" = 0 ]; then
    if [ "${CI:-}" = true ] || [ "${REQUIRE_ROOT:-}" = 1 ]; then
        unset BLOBFERRY_WITHOUT_ROOT_TESTS
    fi
elif [ "${REQUIRE_ROOT:-}" = 1 ]; then
    echo "test.sh: REQUIRE_ROOT=1, but this is not root" >&2
    exit 1
else
    cat >&2 <<'LIST'

LEFT OUT, as this is not root:
  - logins with a password, and by keyboard-interactive, to a real sshd (only root may check a system password)
  - pure-ftpd (it only runs as root)
  - sessions locked into a folder (chroot) on vsftpd and proftpd; the same tests run without the lock
Everything else runs. As root: sudo -E env "PATH=$PATH" scripts/test.sh

LIST
    export BLOBFERRY_WITHOUT_ROOT_TESTS=1
fi

exec cargo test "$@"
