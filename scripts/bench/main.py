"""Runs the rows, contestants interleaved and in another order each round, checks every byte, writes the tables."""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

import contestants
import data
import measure
import report
import rows
import servers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIME_LIMIT = 300
OURS = "_blobferry/"  # the product's own state in the store


def main():
    arguments = _arguments()
    chosen = [row for row in rows.ROWS if not arguments.row or any(row.name.startswith(name) for name in arguments.row)]
    if arguments.list:
        for row in rows.ROWS:
            print(f"{row.name:22} {row.title}")
        return
    if not chosen:
        sys.exit(f"no row begins with {' or '.join(arguments.row)}; --list shows them")
    # Whoever is told to end ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    measure.allow_many_files()
    programs, commit = _programs(arguments), report.commit()
    work = arguments.keep or tempfile.mkdtemp(prefix="blobferry-bench-")
    os.makedirs(work, exist_ok=True)
    os.chmod(work, 0o755)  # the FTP server's user reads the data sets
    tools, versions = _tools()
    served = servers.Servers(os.environ["BLOBFERRY_TEST_TOOLS"], programs, os.path.join(work, "servers"), os.path.join(work, "data"))
    try:
        served.start()
        bench = Bench(arguments, served, tools, programs, work)
        results = [bench.row(row) for row in chosen]
    finally:
        served.stop()
        if not arguments.keep:
            shutil.rmtree(work, ignore_errors=True)
    whole = len(chosen) == len(rows.ROWS) and arguments.scale == "full" and not arguments.before
    docs = os.path.join(ROOT, "docs")
    machine = {**report.machine(versions, arguments), "commit": commit}
    report.write(docs if whole else os.path.join(ROOT, "target"), machine, chosen, results)
    if arguments.again and not whole:
        report.renew(docs, machine, rows.ROWS, results)
    print(report.tables(machine, chosen, results))
    # A contestant may fail and is marked so; the product may not.
    broken = [result["row"] for result in results if any(run["failure"] for run in result["runs"].get(contestants.PRODUCT, []))]
    if broken:
        sys.exit(f"{contestants.PRODUCT} failed in {', '.join(broken)}")


def _arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description="Measures blobferry beside the tools that people use today.")
    parser.add_argument("row", nargs="*", help="rows, or beginnings of their names; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant runs (default 3)")
    parser.add_argument("--scale", choices=["small", "full"], default="full", help="size of the data sets (default full)")
    parser.add_argument("--keep", metavar="FOLDER", help="keep data sets and logs there, and use what is there")
    parser.add_argument("--only", action="append", default=[], metavar="CONTESTANT", help="beside the product, only this one; may be repeated")
    parser.add_argument("--before", metavar="BINARY", help="beside the product as it is, another binary of it, by turns")
    parser.add_argument("--again", action="store_true", help="put these rows into docs/ beside the others of the last whole run, which tell so")
    parser.add_argument("--no-build", action="store_true", help="measure what is built and installed")
    parser.add_argument("--list", action="store_true", help="list the rows")
    arguments = parser.parse_args()
    if arguments.again and (arguments.before or arguments.only or arguments.scale != "full"):
        parser.error("--again measures whole rows: without --before, --only and --scale small")
    return arguments


def _programs(arguments):
    """What is measured, and what it is measured with: of the release build, or of the `BLOBFERRY_PROFILE` that is asked for."""
    built = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), os.environ.get("BLOBFERRY_PROFILE", "release"))
    programs = {"blobferry": os.environ.get("BLOBFERRY_BINARY", os.path.join(built, "blobferry"))}
    programs.update((name, os.path.join(built, "examples", name)) for name in ("bench_sink", "delay_proxy", "into_nothing"))
    programs.update({contestants.BEFORE: os.path.abspath(arguments.before)} if arguments.before else {})
    missing = [path for path in programs.values() if not os.path.exists(path)]
    if missing:
        sys.exit(f"{missing[0]} is not built; run scripts/bench.sh without --no-build")
    return programs


def _tools():
    """Where each tool of the contestants is, and the versions of those that are there."""
    folder = os.environ["BLOBFERRY_TEST_TOOLS"]
    places = {"rclone": "python/bin/rclone", "lftp": "bench/usr/bin/lftp", "unzip": "bench/usr/bin/unzip", "bsdtar": "bench/usr/bin/bsdtar",
              "azcopy": "azcopy/azcopy", "sftp": "debian/usr/bin/sftp", "ssh": "debian/usr/bin/ssh"}
    asked = {"rclone": "version", "lftp": "--version", "unzip": "-v", "bsdtar": "--version", "azcopy": "--version", "ssh": "-V"}
    tools, versions = {}, {}
    for name, place in places.items():
        path = os.path.join(folder, place)
        path = path if os.path.exists(path) else shutil.which(name)
        tools[name] = path
        if path and name in asked:
            answer = subprocess.run([path, asked[name]], capture_output=True, text=True, env=_environment(folder), check=False, timeout=30)
            lines = (answer.stdout + answer.stderr).strip().splitlines()
            versions[name] = lines[0] if answer.returncode == 0 and lines else "present, and does not start"
            tools[name] = path if answer.returncode == 0 else None
        elif name in asked:
            versions[name] = "not installed"
    return tools, versions


def _environment(folder):
    """What contestants see: nothing of ours, nothing that is a flag of theirs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RCLONE_", "AZCOPY_", "BLOBFERRY", "AZURE_", "RUST_", "GO"))}
    libraries = [os.path.join(folder, place, f"usr/lib/{os.uname().machine}-linux-gnu") for place in ("bench", "azcopy", "debian")]
    return {**kept, "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": ":".join(path for path in libraries if os.path.isdir(path))}


class Bench:
    """The rounds of all rows."""

    def __init__(self, arguments, served, tools, programs, work):
        self.arguments, self.served, self.tools, self.programs, self.work = arguments, served, tools, programs, work
        self.number = 0

    def row(self, row):
        dataset = data.make(row.small if self.arguments.scale == "small" else row.full, os.path.join(self.work, "data"))
        os.chmod(os.path.join(self.work, "data"), 0o755)
        ours = [contestants.PRODUCT] + [contestants.BEFORE] * bool(self.arguments.before)
        names = ours + [name for name in row.contestants if not self.arguments.only or name in self.arguments.only]
        missing = {name: [tool for tool in contestants.CONTESTANTS[name][2] if not self.tools.get(tool)] for name in names}
        runs = {name: [] for name in names if not missing[name]}
        for turn in range(self.arguments.rounds):
            order = list(runs)
            random.Random(f"{row.name} {turn}").shuffle(order)
            for name in order:
                result = self.once(row, dataset, name)
                runs[name].append(result)
                print(f"{row.name} {turn + 1}/{self.arguments.rounds} {name}: {report.one(result)}", file=sys.stderr, flush=True)
        absent = {name: ", ".join(tools) + " not installed" for name, tools in missing.items() if tools}
        return {"row": row.name, "data": dataset.name, "files": dataset.files, "bytes": dataset.bytes(), "runs": runs, "absent": absent}

    def once(self, row, dataset, name):
        """One contestant once, from an empty store to a checked one."""
        self.number += 1
        folder = os.path.join(self.work, "run")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.served.restart_sink()
        self.served.distance(row.rtt, row.store_rtt)
        container = f"bench{self.number}"
        self._create(container)
        stage = contestants.Stage(row, dataset, self.served, self.tools, self.programs, folder, container, servers.PASSWORD)
        make, environment, _ = contestants.CONTESTANTS[name]
        command = make(stage)
        os.makedirs(stage.down, exist_ok=True)
        whole = {**_environment(self.served.tools), **environment(stage)}
        log = os.path.join(self.work, f"{row.name}.{name}.log")
        _warm(dataset)
        if row.again:
            first = measure.run(command, whole, log, TIME_LIMIT)
            if first.failure:
                return _result(first, 0, 0, f"first run: {first.failure}")
        before = measure.busy()
        measured = measure.run(command, whole, log, TIME_LIMIT)
        after = measure.busy()
        used, idle = after[0] - before[0], after[1] - before[1]
        lost, alien = self._judge(row, dataset, stage, name)
        failure = measured.failure or (f"{lost} missing or wrong" if lost else None)
        return _result(measured, lost, used / max(used + idle, 0.001), failure, alien)

    def _create(self, container):
        url = f"http://127.0.0.1:{self.served.sink}/{contestants.ACCOUNT}/{container}?restype=container"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30).close()

    def _judge(self, row, dataset, stage, name):
        """How many expected contents are not there, and how many blobs are there that nobody asked for."""
        if name == "sftp-download" or row.proto == "local":
            found = list(_on_disk(stage.down))
        else:
            url = f"http://127.0.0.1:{self.served.sink}/_inventory?container={stage.container}"
            with urllib.request.urlopen(url, timeout=300) as answer:
                found = [(blob["size"], blob["sha256"]) for blob in json.load(answer)["blobs"] if not blob["name"].startswith(OURS)]
        wanted = dict(dataset.expected)
        alien = 0
        for content in found:
            if wanted.get(content, 0) > 0:
                wanted[content] -= 1
            else:
                alien += 1
        return sum(wanted.values()), alien


def _on_disk(folder):
    for path, folders, names in os.walk(folder):
        # The folder store keeps its records and state beside what it stored.
        folders[:] = [name for name in folders if not name.startswith((OURS.rstrip("/"), ".blobferry"))]
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                yield os.path.getsize(file.name), hashlib.file_digest(file, "sha256").hexdigest()


def _warm(dataset):
    """The disk is not what is measured."""
    for path, _, names in os.walk(dataset.path):
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def _result(measured, lost, busy, failure, alien=0):
    return {"wall": round(measured.wall, 3), "cpu": round(measured.cpu, 3), "pss": measured.pss, "hwm": measured.hwm, "lost": lost,
            "alien": alien, "busy": round(busy, 2), "failure": failure}


if __name__ == "__main__":
    main()
