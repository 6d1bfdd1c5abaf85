"""Loads blobferry with many sources, some of them dead, and with very large folders; see scripts/load.sh."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / os.environ.get("BLOBFERRY_PROFILE", "release")
HEALTHY, DEAD, FILES, BYTES = 40, 10, 250, 10 << 10
MOST_RATIO = 1.1
ENTRIES, MOST_SECONDS, MOST_GROWTH_MIB = 100_000, 10, 64
# What the dead ones are allowed; longer than the healthy ones take.
PATIENCE = "stall_timeout = \"60s\"\nconnect_timeout = \"60s\"\nattempts = 1\n"


@contextlib.contextmanager
def served(personality, folder):
    words = [RELEASE / "examples/matrix_server", personality, folder]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()


def lines(protocol, at, path):
    secret = urllib.parse.quote(at["password"], safe="")
    key = f"host_key = \"{at['host_key']}\"\n" if at["host_key"] else ""
    return f"url = \"{protocol}://demo:{secret}@127.0.0.1:{at['port']}/{path}\"\n{key}stable_for = \"0s\"\n"


def run(work, sources):
    """One run; the instants of its log by message, and the peak of its memory in MiB."""
    log = "[log]\nlevel = \"debug\"\nformat = \"json\"\nrotation = \"never\"\n"
    (work / "ingest.toml").write_text(f"[destination]\nfolder = \"store\"\n{log}{sources}")
    with open(work / "stdout", "wb") as out, open(work / "stderr", "wb") as err:
        begun = time.monotonic()
        process = subprocess.Popen([RELEASE / "blobferry", "run", "--json"], cwd=work, env={}, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return json.loads((work / "stdout").read_bytes()), time.monotonic() - begun, usage.ru_maxrss / 1024


def until_stored(work):
    """Seconds from the beginning of the run to the last file that was stored."""
    instant = lambda line: datetime.datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00"))
    log = [json.loads(line) for line in (work / "log/monitor.log").read_text().splitlines()]
    begun = next(instant(line) for line in log if line["message"] == "A run begins.")
    return max((instant(line) - begun).total_seconds() for line in log if line["message"] == "A file is stored.")


def until_ports_are_free():
    """Each file by FTP leaves a connection that its system remembers for a minute, and the more of them there are on one
    machine, the longer the server looks for a port for the next: 20,000 of them make a run five times as long."""
    waiting = lambda: int(pathlib.Path("/proc/net/sockstat").read_text().split(" tw ")[1].split()[0])
    end = time.monotonic() + 90
    while waiting() > 200 and time.monotonic() < end:
        time.sleep(1)


def slow_greeter():
    """A port that greets by a letter now and then, for ever."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip(client):
        with contextlib.suppress(OSError):
            while True:
                client.send(b"2")
                time.sleep(0.5)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener


def dead_ones(stack):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refused = closed.getsockname()[1]
    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64)).getsockname()[1]
    slow = stack.enter_context(slow_greeter()).getsockname()[1]
    text = ""
    for n in range(DEAD):
        port = (refused, silent, slow)[n % 3]
        text += f"[[source]]\nname = \"dead-{n}\"\nurl = \"ftp://demo:x@127.0.0.1:{port}/\"\n{PATIENCE}"
    return text


def many_sources(rounds):
    with tempfile.TemporaryDirectory(prefix="load-") as folder, contextlib.ExitStack() as stack:
        base = pathlib.Path(folder)
        content = os.urandom(BYTES)
        for n in range(HEALTHY):
            (base / f"served/s{n}").mkdir(parents=True)
            for file in range(FILES):
                (base / f"served/s{n}/{file}.bin").write_bytes(content)
        # Few sources a server, so that none of them runs out of places.
        kinds = [("ftp", "ok"), ("sftp", "sftp-ok")] * 2
        servers = [(protocol, stack.enter_context(served(name, base / "served"))) for protocol, name in kinds]
        healthy = "".join(f"[[source]]\nname = \"s{n}\"\n{lines(*servers[n % len(servers)], f's{n}')}" for n in range(HEALTHY))
        dead = dead_ones(stack)
        times = {"alone": [], "with the dead": []}
        for number in range(rounds):
            pair = [("alone", healthy), ("with the dead", dead + healthy)]
            # In turns first, and not while the machine is still busy with what the last one left.
            for name, sources in pair[::-1] if number % 2 else pair:
                os.sync()
                until_ports_are_free()
                work = base / f"{number}-{name.replace(' ', '-')}"
                work.mkdir()
                report, _, _ = run(work, sources)
                ingested = sum(source["ingested"] for source in report["sources"])
                assert ingested == HEALTHY * FILES, f"{ingested} files of {HEALTHY * FILES}: {report}"
                times[name].append(until_stored(work))
                print(f"round {number + 1}, {name}: the last of {ingested} files after {times[name][-1]:.2f} s", flush=True)
        alone, together = (statistics.median(times[name]) for name in ("alone", "with the dead"))
        ratio = together / alone
        print(f"{HEALTHY} healthy sources alone {alone:.2f} s, beside {DEAD} dead ones {together:.2f} s: {ratio:.3f} (at most {MOST_RATIO})")
        return ratio <= MOST_RATIO


def large_folder():
    good = True
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        base = pathlib.Path(folder)
        (base / "many").mkdir()
        (base / "none").mkdir()
        for n in range(ENTRIES):
            path = base / f"many/measurements-of-station-{n:07}.csv"
            path.touch()
            os.utime(path, (1_600_000_000, 1_600_000_000))
        for label, protocol, name in (("FTP, MLSD", "ftp", "ok"), ("FTP, LIST", "ftp", "list-unix"), ("SFTP", "sftp", "sftp-ok")):
            peaks = {}
            for part in ("none", "many"):
                work = base / f"{name}-{part}"
                work.mkdir()
                with served(name, base / part) as at:
                    source = f"[[source]]\nname = \"acme\"\n{lines(protocol, at, '')}exclude = [\"**/*.csv\"]\n"
                    report, seconds, peaks[part] = run(work, source)
                listed = report["sources"][0]["listed"]
                assert listed == (ENTRIES if part == "many" else 0), report
            growth = peaks["many"] - peaks["none"]
            print(f"{label}: {ENTRIES} entries in {seconds:.2f} s (at most {MOST_SECONDS}), memory {peaks['none']:.0f} MiB empty, {growth:.0f} MiB more (at most {MOST_GROWTH_MIB})", flush=True)
            good &= seconds < MOST_SECONDS and growth < MOST_GROWTH_MIB
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("sources", "folder"))
    options = parser.parse_args()
    good = True
    if options.only != "sources":
        good &= large_folder()
    if options.only != "folder":
        good &= many_sources(options.rounds)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
