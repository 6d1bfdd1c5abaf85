"""Plays blobferry's full cycle against servers of other projects; see scripts/servers.sh.

Every verdict follows from exit statuses, reports and the SHA-256 of what is served and of what is stored.
"""

import hashlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import debian_ftp
import in_node
import in_python
import in_rclone
import ssh_daemons
from place import ACCOUNT_HOME, NAMES, ROOT, Place, Unstarted, ensure_account, free_port, hand_over, libraries

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
BF = os.environ["BF"]
FILES = 102 + len(NAMES)
MODIFIED = 1_700_000_005
MARK = "\n## Servers of other projects\n"
SERVERS = debian_ftp.SERVERS | ssh_daemons.SERVERS | in_python.SERVERS | in_node.SERVERS | in_rclone.SERVERS


class Server:
    """A server, as long as the block lasts."""

    def __init__(self, place):
        started = place.kind.start(place)
        words, more = started if isinstance(started, tuple) else (started, libraries())
        shown = None if os.environ.get("SHOW") else subprocess.DEVNULL
        self.port = place.port
        self.process = subprocess.Popen(words, stdout=shown, stderr=shown, start_new_session=True,
                                        env={**os.environ, "TZ": place.kind.zone, **more})

    def __enter__(self):
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                raise Unstarted(f"it ended by itself with {self.process.returncode}: SHOW=1 shows what it says")
            time.sleep(0.1)
        raise Unstarted("it does not listen")

    def __exit__(self, *_):
        # With what it has started.
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


def stored_files(folder):
    """Every file below a folder that is not blobferry's own."""
    for file in pathlib.Path(folder).rglob("*"):
        if file.is_file() and not any("blobferry" in part for part in file.relative_to(folder).parts):
            yield file


def sums(folder):
    """The SHA-256 of every file below a folder, by its path there."""
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in stored_files(folder)}


def times(served, stored):
    """How true the times of the stored files are."""
    pairs = [(file, stored / file.relative_to(served)) for file in stored_files(served)]
    off = [there.stat().st_mtime - int(file.stat().st_mtime) for file, there in pairs if there.exists()]
    worst = max(off, key=abs, default=0)
    if not off or worst == 0:
        return "to the second" if off else ""
    return "to the minute" if abs(worst) < 60 else f"{worst / 3600:+.1f} h"


class Cycle:
    def __init__(self, kind, work):
        self.work, self.root, self.wrong = work, work / "served", []
        self.place = Place(work, self.root, free_port(), kind)
        (self.root / "out/sub").mkdir(parents=True)
        for name in set(NAMES) - set(kind.lacks):
            (self.root / "out" / name).write_text(f"of {name}")
        for number in range(100):
            (self.root / f"out/file {number:03}.csv").write_bytes(os.urandom(number * 997))
        (self.root / "out/empty").write_bytes(b"")
        (self.root / "out/sub/deep.bin").write_bytes(os.urandom(3_000_000))
        for file in self.root.rglob("*"):
            os.utime(file, (MODIFIED, MODIFIED))
        # Listings tell the time of what is half a year old in other words than that of what is new.
        for number, days in enumerate([0.2, 3, 100, 200, 365, 10_000]):
            at = int(time.time() - days * 86400)
            os.utime(self.root / f"out/file {number:03}.csv", (at, at))
        hand_over(self.place)

    def call(self, *words):
        start = time.monotonic()
        done = subprocess.run([BF, *words, "--config", "ingest.toml"], cwd=self.work, capture_output=True, text=True, timeout=600)
        if os.environ.get("SHOW"):
            print(f"== {words[0]}: {done.returncode}\n{done.stdout}{done.stderr}", flush=True)
        return done.returncode, done.stdout + done.stderr, time.monotonic() - start

    def hold(self, what, truth):
        if not truth:
            self.wrong.append(what)

    def configure(self):
        kind, (_, credential) = self.place.kind, self.place.login()
        text = '[destination]\nfolder = "stored"\n[log]\nfiles = false\n[[source]]\nname = "s"\nstable_for = "0s"\n'
        text += f'url = "{self.place.url("out")}"\n{credential}\n{kind.settings}'
        pinned = {"sftp": "host_key = ", "ftpes": "tls_pin = ", "ftps": "tls_pin = "}.get(kind.scheme)
        if pinned:
            (self.work / "ingest.toml").write_text(text)
            shown = self.call("check")[1]
            lines = [line.strip() for line in shown.splitlines() if line.strip().startswith(pinned)]
            self.hold("check tells the key to pin", bool(lines))
            text += "".join(f"{line}\n" for line in lines[:1])
        (self.work / "ingest.toml").write_text(text)

    def told(self):
        """A server that keeps something back: every run says so, and stores what is given."""
        served, words = set(sums(self.root / "out").values()), self.place.kind.says
        code, text, _ = self.call("check")
        self.hold("check tells it", code != 0)
        took = []
        for _ in range(2):
            code, text, seconds = self.call("run")
            self.hold(f"status {code} tells it", code != 0)
            self.hold(f"the run says `{words}`", words in text)
            took.append(seconds)
        self.times = times(self.root / "out", self.work / "stored/s")
        self.hold("what is stored was served", set(sums(self.work / "stored").values()) <= served)
        return took

    def play(self):
        self.configure()
        if self.place.kind.says:
            return self.told()
        self.hold("check", self.call("check")[0] == 0)
        self.hold("plan", self.call("plan")[0] == 0)
        lost = self.place.kind.loses
        served = sums(self.root / "out")
        given = sorted(digest for path, digest in served.items() if path not in lost)
        code, text, first = self.call("run")
        # What is listed and not there may have left; what is so again has not.
        self.hold(f"first run: status {code}", code == 0 or lost and code == 1)
        self.hold("first run: tells what it does not get", all(name in text for name in lost))
        self.times = times(self.root / "out", self.work / "stored/s")
        self.hold("every file is there, byte for byte", given == sorted(sums(self.work / "stored").values()))
        code, text, second = self.call("run")
        self.hold("second run: nothing", code == int(bool(lost)) and "ingested 0" in text)
        self.hold("second run: tells what it does not get", all(name in text for name in lost))
        (self.root / "out/file 007.csv").write_bytes(b"changed")
        (self.root / "out/new.csv").write_bytes(b"new")
        (self.root / "out/file 008.csv").unlink()
        code, text, _ = self.call("run")
        self.hold("third run: what changed, and what is new", code == int(bool(lost)) and "ingested 2" in text)
        digests = set(sums(self.work / "stored").values())
        self.hold("changed bytes", {hashlib.sha256(b).hexdigest() for b in (b"changed", b"new")} <= digests)
        self.hold("audit", self.call("audit", "--download")[0] == 0)
        return first, second


def play(name):
    """Plays the cycle against one server, and tells its row and whether all was right."""
    kind = SERVERS[name]
    with tempfile.TemporaryDirectory(prefix="blobferry-servers-") as folder:
        cycle = Cycle(kind, pathlib.Path(folder))
        try:
            with Server(cycle.place):
                first, second = cycle.play()
        except Unstarted as error:
            return f"| {name} ({kind.scheme}) | | | | | not started: {error} |", False
        finally:
            if kind.login == "key":
                (ACCOUNT_HOME / ".ssh/authorized_keys").unlink(missing_ok=True)
    well = f"said: `{kind.says}`" if kind.says else "right"
    if kind.loses:
        well += f", told: `{'`, `'.join(kind.loses)}`"
    if kind.lacks:
        well += f", without `{'`, `'.join(kind.lacks)}`"
    verdict = well if not cycle.wrong else "WRONG: " + "; ".join(cycle.wrong)
    return f"| {name} ({kind.scheme}) | {FILES - len(kind.lacks)} | {first:.1f} s | {second:.1f} s | {cycle.times} | {verdict} |", not cycle.wrong


def main(words):
    write = "--write" in words
    names = [word for word in words if not word.startswith("--")] or list(SERVERS)
    left_out = [] if ROOT else [name for name in names if SERVERS[name].needs_root]
    if left_out:
        print(f"LEFT OUT, as this is not root: {', '.join(left_out)}", flush=True)
        if write:
            raise SystemExit("--write needs every server, and so root")
    ensure_account()
    lines, good = ["| server | files | first run | second run | times | verdict |", "|---|---|---|---|---|---|"], True
    for name in names:
        if name in left_out:
            continue
        line, right = play(name)
        good &= right
        lines.append(line)
        print(line, flush=True)
    if write:
        page = CHECKOUT / "docs/matrix.md"
        text = page.read_text().split(MARK)[0].rstrip("\n")
        note = (HERE / "note.md").read_text()
        page.write_text(f"{text}\n{MARK}\n{note}\n" + "\n".join(lines) + "\n")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
