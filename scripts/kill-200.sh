#!/usr/bin/env bash
# Kills a real `blobferry run` with SIGKILL at random moments while it brings some hundred files, archives among them,
# from a real sshd into Azurite. After each kill everything that is visible must be whole. In the end
# a whole run makes everything whole, and rclone compares every byte. Needs the test tools. Prints its seed: the same seed
# kills at the same moments, as far as clocks allow.
#
# Usage: scripts/kill-200.sh [kills, 200] [seed]
#
# The binary is a debug build without failpoints: slower than the one that ships, so that more of it can be hit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kills=${1:-200}
seed=${2:-$RANDOM}
tools=${BLOBFERRY_TEST_TOOLS:-$PWD/.test-tools}
cargo build
folder=$(mktemp -d)
# Whoever builds meanwhile does not change what is killed here.
cp "${CARGO_TARGET_DIR:-target}/debug/blobferry" "$folder/blobferry"
binary=$folder/blobferry
pids=()
stop() {
    for pid in "${emulator:-}" "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$folder"
}
trap stop EXIT
echo "kill-200.sh: seed $seed"
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The source: files of all sizes, archives, one large file. Its whole content as it is to be stored is in $folder/expected.
mkdir -p "$folder/files" "$folder/expected" "$folder/azurite"
python3 - "$folder" "$seed" <<'PY'
import io, os, random, sys, zipfile
folder, chance = sys.argv[1], random.Random(int(sys.argv[2]))
def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(content)
    os.utime(path, (1600000000, 1600000000))
for n in range(300):
    content = chance.randbytes(chance.choice([0, 10, 1000, 30000, 200000]))
    for root in ("files", "expected"):
        write(f"{folder}/{root}/d{n % 7}/f{n}.bin", content)
for root in ("files", "expected"):
    write(f"{folder}/{root}/large.bin", random.Random(1).randbytes(40 << 20))
for n in range(12):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for m in range(40):
            content = chance.randbytes(chance.choice([1, 500, 20000]))
            archive.writestr(f"m{m % 3}/{m}.txt", content)
            write(f"{folder}/expected/z{n}.zip!/m{m % 3}/{m}.txt", content)
    write(f"{folder}/files/z{n}.zip", packed.getvalue())
PY

blob=$(port) queue=$(port) table=$(port)
azurite() {
    "$tools/node/node" "$tools/node/node_modules/azurite/dist/src/azurite.js" --silent --disableTelemetry --skipApiVersionCheck \
        --location "$folder/azurite" --blobHost 127.0.0.1 --blobPort "$blob" --queueHost 127.0.0.1 --queuePort "$queue" \
        --tableHost 127.0.0.1 --tablePort "$table" >>"$folder/azurite.log" 2>&1 &
    emulator=$!
}
azurite
key='Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='

ssh=$(port)
sshd=$(command -v sshd || echo "$tools/debian/usr/sbin/sshd")
ssh_keygen=$(command -v ssh-keygen || echo "$tools/debian/usr/bin/ssh-keygen")
# What is unpacked there finds its libraries beside it, not in the system.
libraries=$(find "$tools/debian/usr/lib" "$tools/debian/lib" -maxdepth 1 -type d -name '*-linux-gnu*' 2>/dev/null | paste -sd:)
keygen() { LD_LIBRARY_PATH=$libraries "$ssh_keygen" "$@"; }
keygen -q -t ed25519 -N '' -f "$folder/host_key"
keygen -q -t ed25519 -N '' -f "$folder/user_key"
cp "$folder/user_key.pub" "$folder/authorized_keys"
session=$(find "$tools/debian" -name sshd-session -type f 2>/dev/null | head -n 1 || true)
auth=$(find "$tools/debian" -name sshd-auth -type f 2>/dev/null | head -n 1 || true)
cat >"$folder/sshd_config" <<CONF
Port $ssh
ListenAddress 127.0.0.1
HostKey $folder/host_key
PidFile none
AuthorizedKeysFile $folder/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 100
Subsystem sftp internal-sftp
${session:+SshdSessionPath $session}
${auth:+SshdAuthPath $auth}
CONF
# As root, sshd does not start without these, which its package would have made; the tests make them, too.
if [ "$(id -u)" = 0 ]; then
    mkdir -p /run/sshd
    id sshd >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir /run/sshd --shell /usr/sbin/nologin sshd
fi
LD_LIBRARY_PATH=$libraries "$sshd" -D -e -f "$folder/sshd_config" >"$folder/sshd.log" 2>&1 &
pids+=($!)
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
await() {
    for _ in $(seq 300); do ! listens "$1" || return 0; sleep 0.1; done
    cat "$folder"/*.log >&2
    echo "kill-200.sh: a server did not start" >&2
    exit 1
}
await "$blob"
await "$ssh"

endpoint=http://127.0.0.1:$blob/devstoreaccount1
cat >"$folder/ingest.toml" <<CONF
[destination]
connection_string = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=$key;BlobEndpoint=$endpoint;"
container = "kills"
[[source]]
name = "acme"
url = "sftp://$(id -un)@127.0.0.1:$ssh$folder/files"
private_key_file = "$folder/user_key"
host_key = "$(keygen -lf "$folder/host_key.pub" | cut -d' ' -f2)"
stable_for = "0s"
layout = "path"
CONF

remote=":azureblob,account=devstoreaccount1,key=\"$key\",endpoint=\"$endpoint\":kills/acme"
rclone() { "$tools/python/bin/rclone" --config /dev/null --retries 1 "$@" 2>&1; }
# Everything that is visible is whole: each blob has a file of its name with the same bytes.
whole() { rclone check --download --one-way "$remote" "$folder/expected" >"$folder/check.log" || { cat "$folder/check.log" >&2; return 1; }; }

RANDOM=$seed
caught=0
again=0
begun=$SECONDS
for number in $(seq "$kills"); do
    # An upload that is cut off keeps one of the emulator's 50 places for writing for ever; without any, writes hang.
    if [ $((number % 20)) = 0 ]; then
        kill "$emulator"
        wait "$emulator" 2>/dev/null || true
        azurite
        await "$blob"
    fi
    (cd "$folder" && exec "$binary" run --json) >"$folder/run.log" 2>&1 &
    run=$!
    sleep "$(printf '%d.%03d' $((RANDOM % 2)) $((RANDOM % 1000)))"
    if kill -9 "$run" 2>/dev/null; then caught=$((caught + 1)); fi
    wait "$run" 2>/dev/null || true
    # The container, or all in it, may not be there yet: then rclone ends with 3.
    count=0
    if ! grep -qE 'ContainerNotFound|directory not found' <(rclone lsf "$remote"); then
        whole || { echo "kill-200.sh: something partial is visible after kill $number" >&2; exit 1; }
        count=$(rclone lsf -R --files-only "$remote" | wc -l)
    fi
    echo "kill $number: $count blobs, all whole ($((SECONDS - begun)) s)"
    # When all is there, the source gets a new life: everything goes, and comes again.
    if [ "$count" = "$(find "$folder/expected" -type f | wc -l)" ] && [ "$number" != "$kills" ]; then
        again=$((again + 1))
        rclone purge "${remote%/acme}" >/dev/null || true
    fi
done
(cd "$folder" && "$binary" run --json) >"$folder/run.log" 2>&1 || { cat "$folder/run.log" >&2; exit 1; }
rclone check --download "$remote" "$folder/expected" | tee "$folder/check.log" | tail -n 3
grep -q '0 differences found' "$folder/check.log"
(cd "$folder" && "$binary" run --json) >"$folder/last.json" 2>"$folder/last.log"
python3 - "$folder/last.json" <<'PY'
import json, sys
source = json.load(open(sys.argv[1]))["sources"][0]
assert source["unchanged"] == source["listed"] > 300 and source["blobs"] == 0, source
PY
(cd "$folder" && "$binary" audit --download) || { echo "kill-200.sh: the audit found a violation" >&2; exit 1; }
[ "$((caught * 2))" -ge "$kills" ] || { echo "kill-200.sh: only $caught of $kills runs were caught in the middle" >&2; exit 1; }
echo "kill-200.sh: $kills kills ($caught in the middle of a run, the container was emptied $again times): all whole, each once"
