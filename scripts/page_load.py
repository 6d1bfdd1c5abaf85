"""The state of many sources and files, and what pages over it take: see scripts/page-load.sh."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

BINARY, SOURCES, FILES = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
MOST_MS, MOST_MIB = 300, 64
RUNS = 60
NOW = datetime.now(timezone.utc).replace(microsecond=0)


def stamp(at):
    return at.strftime("%Y%m%dT%H%M%SZ")


def text(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def name(number):
    return f"partner-{number:04}"


def make(root):
    state = root / "out" / "_blobferry"
    lines = ["[destination]", 'folder = "out"']
    for number in range(SOURCES):
        lines += ["[[source]]", f'name = "{name(number)}"', f'url = "file://{root}/in/{name(number)}"']
    write(root / "ingest.toml", "\n".join(lines) + "\n")
    runs = [NOW - timedelta(hours=RUNS - hour) for hour in range(RUNS)]
    ids = [f"{stamp(at)}-{number:08x}" for number, at in enumerate(runs)]
    first = ids[0]
    index = {"schema": 2, "sources": {}, "names": {"fresh": 0}}
    for number in range(SOURCES):
        source = name(number)
        path = state / source / "runs" / first[:8] / f"{first}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as manifest:
            for file in range(FILES):
                md5 = f"{number * FILES + file:032x}"
                manifest.write(
                    f'{{"path":"/out/{file % 31:02}/sales_{source}_{file:06}.csv","outcome":"ingested","why":"new",'
                    f'"size":{file + 1000},"modified":"{text(runs[0])}","precision":"second","version":"{md5}",'
                    f'"bytes":{file + 1000},"blob":{{"name":"{source}/out/{file % 31:02}/sales_{source}_{file:06}.csv",'
                    f'"size":{file + 1000},"md5":"{md5}"}},"stored":"{text(runs[0])}"}}\n'
                )
        bad = number % 100 == 7
        trouble = {"since": text(runs[3]), "run": ids[3], "runs": RUNS - 3, "files": 0,
                   "message": "530 Login incorrect", "hint": "check user, password or key"}
        index["sources"][source] = {
            "run": ids[-1], "idle": not bad, "brought": first,
            "standing": {"word": "failed" if bad else "ok", "since": text(runs[3] if bad else runs[0]),
                         "runs": RUNS - 3 if bad else RUNS, "looked": text(runs[-1]),
                         "good": text(runs[2] if bad else runs[-1]), "good_run": ids[2 if bad else -1],
                         **({"troubles": {"auth": trouble}} if bad else {})},
            "days": {"last": NOW.strftime("%Y%m%d"), "states": "-" * 32 + ("w" * 27 + "bbb" if bad else "w" * 30),
                     "files": " ".join(["0"] * 61 + [str(FILES)])},
        }
    write(state / "_runs" / "sources.json", json.dumps(index))
    for at, run in zip(runs, ids):
        sources = []
        for number in range(SOURCES):
            line = {"source": name(number), "address": "file:///in", "status": "ok", "looked": text(at),
                    "listed": FILES, "unchanged": FILES}
            if number % 100 == 7:
                line = {"source": name(number), "address": "sftp://partner.example:22", "status": "failed",
                        "unusable": True, "looked": text(at),
                        "problems": [{"class": "auth", "message": "530 Login incorrect", "hint": "check it"}]}
            elif run == first:
                line = {**line, "unchanged": 0, "ingested": FILES, "bytes": FILES * 1000, "blobs": FILES,
                        "manifest": f"_blobferry/{name(number)}/runs/{run[:8]}/{run}.jsonl"}
            sources.append(line)
        record = {"schema": 2, "id": run, "run": run, "status": "degraded", "trigger": "timer", "invocation": "",
                  "started": text(at), "heartbeat": text(at), "ended": text(at + timedelta(seconds=30)),
                  "problems": [], "sources": sources}
        write(state / "_runs" / run[:8] / f"{run}.json", json.dumps(record))
    return ids


def memory(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def find(root, *words):
    began = time.monotonic()
    told = subprocess.run([BINARY, "find", *words], cwd=root, capture_output=True, text=True)
    return (time.monotonic() - began) * 1000, told.stdout.strip().splitlines()[-1], told.returncode


def main():
    keep = os.environ.get("KEEP")
    root = Path(keep or tempfile.mkdtemp(prefix="page-load-"))
    faults = []
    try:
        began = time.monotonic()
        ids = make(root)
        print(f"state of {SOURCES} sources, {SOURCES * FILES} files: {time.monotonic() - began:.1f} s", flush=True)
        wanted = f"sales_{name(SOURCES // 2)}_{FILES // 2:06}.csv"
        for what in ("without an index", "with it", "with it"):
            took, told, code = find(root, wanted)
            print(f"find, {what}: {took:.0f} ms, {told}", flush=True)
            if code != 0:
                faults.append(f"find, {what}: status {code}")
        took, told, _ = find(root, f"{FILES // 2:06}")
        print(f"find, a piece of a name: {took:.0f} ms, {told}", flush=True)
        with (root / "address").open("w") as out:
            serve = subprocess.Popen([BINARY, "serve", "--status", "--port", "0"], cwd=root, stdout=out,
                                     stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                address = re.search(r"http://\S+", (root / "address").read_text())
                if address:
                    break
                time.sleep(0.1)
            base, query = address.group(0).split("?")
            bad, well = name(7), name(SOURCES // 2)
            pages = {
                "overview": "", "sources": "/sources", "source that is down": f"/sources/{bad}",
                "source that is well": f"/sources/{well}", "runs": "/runs", "run": f"/runs/{ids[-1]}",
                "first run": f"/runs/{ids[0]}", "file": f"/files/{well}/out/{FILES // 2 % 31:02}/{wanted}",
                "search, a name": f"/files?q={wanted}", "search, a piece": f"/files?q={FILES // 2:06}",
                "search, nothing": "/files?q=nothing-like-it", "month": f"/months/{NOW:%Y-%m}",
            }
            for accept in ("text/html", "application/json"):
                for page, path in pages.items():
                    below, _, more = path.partition("?")
                    url = f"{base}{below}?{query}" + (f"&{more}" if more else "")
                    times, size = [], 0
                    for _ in range(3):
                        began = time.monotonic()
                        request = urllib.request.Request(url, headers={"Accept": accept})
                        size = len(urllib.request.urlopen(request, timeout=60).read())
                        times.append((time.monotonic() - began) * 1000)
                    print(f"{page:22} {accept:17} first {times[0]:6.0f} ms, then {min(times[1:]):6.0f} ms, "
                          f"{size / 1024:7.1f} KiB, peak {memory(serve):5.1f} MiB", flush=True)
                    if min(times) > MOST_MS:
                        faults.append(f"{page} {accept}: {min(times):.0f} ms")
            if memory(serve) > MOST_MIB:
                faults.append(f"{memory(serve):.1f} MiB")
        finally:
            serve.terminate()
            serve.wait()
    finally:
        if not keep:
            shutil.rmtree(root)
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


main()
