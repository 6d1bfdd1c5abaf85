"""Makes tests/fixtures/state-0.1 with a 0.1 binary; scripts/make-state-0.1.sh tells how.

    make.py BINARY TOOLS OUTPUT

The same story is played twice, into a folder and into Azurite. Names, contents and times of served files are always the
same; ids of runs, names of journals and moments in the state are those of the day on which this was run.
"""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

from ftp import Server
from place import CONFIG, Azurite, accepts, ask, free_port, post_message, wait_for

BINARY, TOOLS, OUTPUT = (Path(word).resolve() for word in sys.argv[1:4])
OLD = 1_700_000_000  # 2023-11-14T22:13:20Z: when the first file was modified.
FUTURE = 2_208_988_800  # 2040-01-01: never old enough to be taken at first sight.
# Whoever reads this state is not to log in with the refused password, and the mark of a refusal holds the port.
REFUSED_PORT = 2190


class Served:
    """The tree that is served."""

    def __init__(self, root):
        self.root, self.written = root, 0

    def file(self, name, content, at=None):
        path = os.fsencode(self.root) + b"/" + (name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        self.written += 1
        at = at or OLD + 3600 * self.written
        os.utime(path, (at, at))


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2023, 11, 14, 22, 13, 20)), content)
    return out.getvalue()


class Story:
    """Plays what happened to 0.1, into one destination."""

    def __init__(self, place, destination, azurite, what):
        self.place, self.azurite, self.queue = place, azurite, f"work-{what}"
        (place / "app").mkdir(parents=True)
        self.served = Served(place / "served")
        self.served.root.mkdir()
        self.server, self.lists = Server(self.served.root, True), Server(self.served.root, False)
        self.server.grows = {b"growing.csv"}
        words = {"destination": destination, "port": self.server.port, "list_port": self.lists.port}
        (place / "app/ingest.toml").write_text(CONFIG.format(**words))
        shutil.copy(Path(__file__).parents[2] / "host.json", place / "app")

    def environment(self, more):
        own = {"PATH": os.environ["PATH"], "AzureWebJobsStorage": self.azurite.connection, "INGEST_QUEUE": self.queue}
        return {**own, "FUNCTIONS_APP_ROOT_PATH": str(self.place / "app"), **more}

    def start(self, *words, **more):
        command = [str(BINARY), *words]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.place / "app", env=self.environment(more), **streams)

    def run(self, source, code, **more):
        process = self.start("run", "--json", "--source", source, **more)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, (source, process.returncode, out.decode(), err.decode())
        return json.loads(out)["sources"][0]

    def killed_at(self, names, doing):
        """Calls `doing`, which returns a process; kills that in the middle of the last of these files."""
        self.server.stalls, self.server.stalled = list(names), threading.Event()
        process = doing()
        assert self.server.stalled.wait(60), f"{names} were never read"
        time.sleep(3)  # What is done beside it is recorded.
        process.send_signal(signal.SIGKILL)
        process.wait()

    def acme(self):
        file = self.served.file
        for n in range(40):
            file(f"acme/bulk/{n:02}.csv", f"{n};first\n".encode() * (n + 1))
        assert self.run("acme", 0)["ingested"] == 40
        file("acme/changed.csv", b"before\n")
        file(b"acme/na\xefve.csv", b"a name in ISO 8859-1\n")
        assert self.run("acme", 0)["ingested"] == 2
        file("acme/changed.csv", b"before and after\n")
        assert self.run("acme", 0)["ingested"] == 1
        file("acme/pair.zip", zipped({"one.txt": b"member one\n", "sub/two.txt": b"member two\n" * 50}))
        assert self.run("acme", 0)["ingested"] == 1
        file("acme/broken.zip", b"PK\x03\x04 and then nothing that a zip has")
        file("acme/beside.csv", b"beside a broken archive\n")
        report = self.run("acme", 1)
        assert (report["ingested"], report["failed"]) == (1, 1), report
        down = "ftp://user:password@127.0.0.1:1/acme"
        self.run("acme", 3, BLOBFERRY__SOURCE__ACME__URL=down)
        # A pass in nine pieces leaves nine journals, which the next run folds; two are left by a pass in two.
        for n in range(18):
            file(f"acme/daily/{n:02}.csv", b"day %d\n" % n)
        self.whole_pass("acme")
        file("acme/daily/18.csv", b"the run that folds\n")
        assert self.run("acme", 0)["ingested"] == 1
        for n in range(19, 23):
            file(f"acme/daily/{n}.csv", b"day %d\n" % n)
        self.whole_pass("acme")
        known = self.ledger("acme")
        assert known["generation"] == 1 and len(known["journals"]) >= 3, known
        file("acme/late/first.csv", b"recorded by a run that did not end\n")
        file("acme/late/second.bin", bytes(range(256)) * 64)
        self.killed_at([b"second.bin"], lambda: self.start("run", "--json", "--source", "acme"))

    def ledger(self, source):
        process = self.start("ledger", "show", "--json", "--source", source)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (out, err)
        return json.loads(out)

    def others(self):
        file = self.served.file
        for n in range(3):
            file(f"coarse/{n}.csv", b"listed with its day alone %d\n" % n)
        assert self.run("coarse", 0)["ingested"] == 3
        file("young/growing.csv", b"a row\n", FUTURE)
        file("young/old.csv", b"old\n")
        report = self.run("young", 0)
        assert (report["ingested"], report["deferred"]) == (1, 1), report
        refuses = Server(self.served.root, True, port=REFUSED_PORT)
        self.run("locked", 3)
        refuses.listener.shutdown(socket.SHUT_RDWR)
        refuses.listener.close()
        file("types/a.csv", b"a\n")
        file("types/b.json", b"{}\n")
        file("types/c.zip", zipped({"inner.csv": b"inner\n"}))

    def handler(self):
        port = free_port()
        process = self.start("serve", FUNCTIONS_CUSTOMHANDLER_PORT=str(port))
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=stream.read, daemon=True).start()
        wait_for("the handler", lambda: accepts(port))
        return process, port

    def whole_pass(self, source):
        process, port = self.handler()
        ask(port, source)
        while texts := self.azurite.take(self.queue):
            for text in texts:
                assert post_message(port, text) == 200, text
        process.terminate()
        process.wait()

    def by_queue(self):
        """A run that ended, a pass that is under way, and one that was asked for; messages that are under way."""
        for n in range(6):
            self.served.file(f"pieces/{n}.csv", b"piece by piece %d\n" % n)
        self.served.file("later/only.csv", b"asked for\n")
        self.whole_pass("types")
        process, port = self.handler()
        ask(port, "pieces")
        [plan] = self.azurite.take(self.queue)
        assert post_message(port, plan) == 200
        first, second = sorted(self.azurite.take(self.queue), key=lambda text: json.loads(text)["piece"])
        assert post_message(port, first) == 200
        waiting = self.azurite.take(self.queue)
        assert [json.loads(text)["piece"] for text in waiting] == ["00002"], waiting
        ask(port, "later")
        [asked] = self.azurite.take(self.queue)
        worker = lambda: threading.Thread(target=post_message, args=(port, second), daemon=True).start() or process
        self.killed_at([b"2.csv", b"3.csv"], worker)
        return {"piece-under-way": second, "piece-waiting": waiting[0], "plan-done": plan, "plan-waiting": asked}

    def play(self):
        self.acme()
        self.others()
        return self.by_queue()


def packed(folder, path):
    """A gzipped tar, in pax format: a folder of 0.1 knows the times of its files to the nanosecond."""
    form = ["--format=pax", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]
    subprocess.run(["tar", *form, "-C", folder, "-czf", path, "."], check=True)


def head(read):
    return json.loads(read("_blobferry/acme/ledger/head.json"))


def half_a_line():
    line = json.dumps({"t": "end", "run": "20261129T000000Z-00000000"}, separators=(",", ":"))
    return line[: len(line) // 2].encode()


def into_folder(place, azurite):
    out = place / "store"
    story = Story(place, f"folder = '{out}'", azurite, "folder")
    messages = story.play()
    journal = head(lambda name: (out / name).read_bytes())["journals"][-1]
    # What a killed append leaves: bytes behind the length that counts.
    with open(out / "_blobferry/acme/ledger" / journal, "ab") as file:
        file.write(half_a_line())
    packed(out, OUTPUT / "folder.tar.gz")
    packed(story.served.root, OUTPUT / "served.tar.gz")
    tell(messages, "folder")


def into_azurite(place, azurite):
    from azure.storage.blob import BlobServiceClient

    story = Story(place, f'connection_string = "{azurite.connection}"\ncontainer = "landing"', azurite, "azure")
    messages = story.play()
    service = BlobServiceClient.from_connection_string(azurite.connection, api_version="2025-11-05")
    container = service.get_container_client("landing")
    journal = head(lambda name: container.download_blob(name).readall())["journals"][-1]
    container.get_blob_client(f"_blobferry/acme/ledger/{journal}").append_block(half_a_line())
    dump = [sys.executable, OUTPUT / "container.py", "dump", azurite.connection, "landing"]
    subprocess.run([*dump, OUTPUT / "azure.jsonl.gz"], check=True)
    tell(messages, "azure")


def tell(messages, form):
    folder = OUTPUT / "messages"
    folder.mkdir(exist_ok=True)
    for name, text in messages.items():
        (folder / f"{form}-{name}.json").write_text(text)


version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.strip()
assert version == "blobferry 0.1.0", f"{BINARY} says it is {version}"
with tempfile.TemporaryDirectory() as place:
    azurite = Azurite(TOOLS, f"{place}/azurite")
    try:
        into_folder(Path(place) / "one", azurite)
        into_azurite(Path(place) / "two", azurite)
    finally:
        azurite.process.kill()
(OUTPUT / "ingest.toml").write_text(CONFIG)
