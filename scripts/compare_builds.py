"""Runs two builds over the same sources and compares what they store and print. See compare-builds.sh."""

import difflib
import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

PORTS = (2121, 2222)
STAMP = 1_750_000_000  # every file of the sources has this time

# What differs from run to run of one build: each has its mask, the first that fits wins.
MASKS = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "<time>"),
    (r"\d{8}T\d{6}[0-9a-zA-Z.]*Z?[-0-9a-f]*", "<run>"),
    (r'"(run_id|run|id|pass|etag|seconds|duration_ms|started|ended|lag_seconds|at|stored|since|file_sha256|sum)": ?("[^"]*"|[0-9.]+)', r'"\1":<masked>'),
    # Sums and sizes of state, which holds times and ids.
    (r'"(report_sha256|manifest_sha256|crc)": ?"[0-9a-f]+"', r'"\1":<masked>'),
    (r'"bytes": ?1[0-9]{4}\b', '"bytes":<of a journal>'),
    (r"\b\d+(\.\d+)? [KMGT]iB free", "<room> free"),
    (r"\b\d+(\.\d+)? (ms|s|min|KiB/s|MiB/s|GiB/s|B/s)\b", "<figure>"),
    (r"\b\d+(\.\d+)?(ms|s)\b", "<figure>"),
]

CONFIG = """[destination]
folder = "stored"

[[source]]
name = "by-sftp"
url = "sftp://user@localhost:{sftp}/"
password = "password"
host_key = "{key}"
archives = "unpack"
after = "keep"

[[source]]
name = "by-ftp"
url = "ftp://user:password@localhost:{ftp}/"
include = ["**/*.csv", "**/*.gz"]

[[source]]
name = "by-file"
url = "file://{root}"
layout = "mine/{{source}}/{{path}}"
"""

# (name, arguments, whether the sources change before it)
COMMANDS = [
    ("check", ["check"], False),
    ("plan", ["plan"], False),
    ("run", ["run", "--json"], False),
    ("second run", ["run", "--json"], False),
    ("run after changes", ["run", "--json"], True),
    ("run as text", ["run"], False),
    ("ls", ["ls"], False),
    ("find", ["find", "a.csv"], False),
    ("audit", ["audit", "--download"], False),
    ("schema", ["schema"], False),
    ("a wrong setting", ["run", "--config", "wrong.toml"], False),
    ("no configuration", ["run", "--config", "missing.toml"], False),
]


def archive_zip():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as out:
        for n in range(20):
            info = zipfile.ZipInfo(f"folder/m{n}.txt", (2025, 6, 1, 12, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, f"member {n}\n" * n)
    return data.getvalue()


def archive_tar():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as out:
        for name in ("x.csv", "sub/y.csv"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 4, STAMP
            out.addfile(info, io.BytesIO(b"1;2\n"))
    return gzip.compress(data.getvalue(), mtime=0)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (STAMP, STAMP))


def make_sources(root):
    for n in range(30):
        write(root / f"feed/{n % 3}/f{n}.csv", f"{n};row\n".encode() * n)
    write(root / "a.csv", b"a\n")
    write(root / "Größe & Ähnliches #1.csv", b"umlauts\n")
    write(root / "empty.csv", b"")
    write(root / "parcel.zip", archive_zip())
    write(root / "parcel.tar.gz", archive_tar())
    write(root / "damaged.zip", archive_zip()[:-40])
    write(root / "big.bin", bytes(range(256)) * 20_000)


def change_sources(root):
    write(root / "feed/0/f0.csv", b"changed\n")
    os.utime(root / "feed/0/f0.csv", (STAMP + 60, STAMP + 60))
    (root / "a.csv").unlink()
    write(root / "feed/new.csv", b"new\n")


def masked(text, root, place):
    text = text.replace(str(root), "<root>").replace(str(place), "<place>")
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text


def serve(binary, root, log):
    server = subprocess.Popen([binary, "demo", "--serve", "--root", str(root)], stdout=log, stderr=log)
    for _ in range(100):
        time.sleep(0.1)
        told = Path(log.name).read_text()
        if found := re.search(r'host_key = "([^"]+)"', told):
            return server, found[1]
    server.kill()
    sys.exit(f"compare-builds: the servers do not come up: {told}")


def told_by(binary, place, root, key):
    """What each command prints and returns, and what is stored in the end."""
    shutil.rmtree(root, ignore_errors=True)
    make_sources(root)
    place.mkdir()
    text = CONFIG.format(ftp=PORTS[0], sftp=PORTS[1], key=key, root=root)
    (place / "ingest.toml").write_text(text)
    (place / "wrong.toml").write_text(text + "\nnonsense = 1\n")
    told = {}
    for name, arguments, changes in COMMANDS:
        if changes:
            change_sources(root)
        done = subprocess.run([binary, *arguments], cwd=place, capture_output=True, text=True, timeout=300)
        told[name] = f"status {done.returncode}\n{done.stdout}\n--\n{done.stderr}"
    told["stored"] = stored(place / "stored")
    return {name: masked(text, root, place) for name, text in told.items()}


def stored(folder):
    """Every blob: name, size, bytes by their sum; of the program's own state the names alone, runs masked."""
    lines = set()
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or name.startswith(".blobferry"):
            continue
        if name.startswith("_blobferry/"):
            lines.add(re.sub(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]+|[0-9a-f]{16,}", "<id>", name))
        else:
            lines.add(f"{name} {path.stat().st_size} {hash_of(path)} {int(path.stat().st_mtime)}")
    return "\n".join(sorted(lines))


def hash_of(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def settled(text):
    """Lines of a report in an order of their own: side by side work ends in any order."""
    try:
        return json.dumps(json.loads(text), sort_keys=True, indent=1)
    except ValueError:
        return "\n".join(sorted(text.splitlines()))


def main():
    old, new = (str(Path(binary).resolve()) for binary in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        root = folder / "sources"
        root.mkdir()
        with open(folder / "server.log", "w+") as log:
            server, key = serve(old, root, log)
            try:
                both = [told_by(binary, folder / name, root, key) for binary, name in ((old, "old"), (new, "new"))]
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(10)
    different = 0
    for name in both[0]:
        before, after = (settled(told[name]).splitlines() for told in both)
        if before == after:
            print(f"same       {name} ({len(before)} lines)")
            continue
        different += 1
        print(f"DIFFERENT  {name}")
        for line in list(difflib.unified_diff(before, after, "old", "new", lineterm="", n=0))[:40]:
            print(f"    {line}")
    files = len(both[0]["stored"].splitlines())
    print(f"{len(both[0]) - different} of {len(both[0])} the same; {files} names stored")
    if files < 40:
        sys.exit("compare-builds: hardly anything was stored: this proves nothing")
    sys.exit(1 if different else 0)


main()
