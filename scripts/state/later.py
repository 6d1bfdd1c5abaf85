"""Measures what a binary of 0.1 says of state that a later version left: the table in docs/upgrading.md.

    PYTHONPATH=.test-tools/python scripts/state/later.py BINARY TOOLS

It loads tests/fixtures/state-0.1 into Azurite, changes one thing, and prints what commands and the handler answer. The
fixture's open pass must be silent for a quarter of an hour, which it is when it is that old.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from azure.storage.blob import BlobServiceClient
from ftp import Server
from place import CONFIG, Azurite, accepts, free_port, post, wait_for

BINARY, TOOLS = (Path(word).resolve() for word in sys.argv[1:3])
ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests/fixtures/state-0.1"
ACME, PIECES = "_blobferry/acme/ledger/", "_blobferry/pieces/"
POLYNOMIAL = 0x9A6C9329AC4BC9B5


def crc(data):
    """CRC-64/NVME, as in lines of journals and in the head."""
    value = 2**64 - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return f"{value ^ 2**64 - 1:016x}"


def line(value):
    value.pop("crc", None)
    data = json.dumps(value, separators=(",", ":")).encode()[:-1]
    return data + b',"crc":"' + crc(data).encode() + b'"}\n'


def message(name, **more):
    return {**json.loads((FIXTURE / f"messages/azure-{name}.json").read_text()), **more}


WORK = PIECES + f"work/{message('piece-waiting')['pass']}/"


class Case:
    """The fixture in a container of its own."""

    count = 0

    def __init__(self, world, what):
        print(f"\n===== {what}", flush=True)
        Case.count += 1
        self.azurite, name = world.azurite, f"landing{Case.count}"
        self.queue = f"work{Case.count}"
        self.azurite.ask("PUT", self.queue, {})
        load = [sys.executable, FIXTURE / "container.py", "load", self.azurite.connection, name]
        subprocess.run([*load, FIXTURE / "azure.jsonl.gz"], check=True, stdout=subprocess.DEVNULL)
        service = BlobServiceClient.from_connection_string(self.azurite.connection, api_version="2025-11-05")
        self.container = service.get_container_client(name)
        self.place = world.place / name
        self.place.mkdir()
        words = {"destination": f'connection_string = "{self.azurite.connection}"\ncontainer = "{name}"', **world.ports}
        (self.place / "ingest.toml").write_text(CONFIG.format(**words))
        shutil.copy(ROOT / "host.json", self.place)
        self.environment = {"PATH": os.environ["PATH"], "FUNCTIONS_APP_ROOT_PATH": str(self.place)}
        self.environment |= {"AzureWebJobsStorage": self.azurite.connection, "INGEST_QUEUE": self.queue}

    def get(self, name):
        return self.container.download_blob(name).readall()

    def put(self, name, data):
        """Replaces the bytes of a blob; all else about it stays."""
        blob = self.container.get_blob_client(name)
        known = blob.get_blob_properties()
        if str(getattr(known.blob_type, "value", known.blob_type)) == "AppendBlob":
            blob.create_append_blob(content_settings=known.content_settings, metadata=known.metadata)
            blob.append_block(data)
        else:
            known.content_settings.content_md5 = bytearray(hashlib.md5(data).digest())
            blob.upload_blob(data, overwrite=True, metadata=known.metadata, content_settings=known.content_settings)

    def edit(self, name, to_bytes=lambda value: json.dumps(value).encode(), **members):
        self.put(name, to_bytes({**json.loads(self.get(name)), **members}))

    def journal(self):
        return ACME + json.loads(self.get(ACME + "head.json"))["journals"][0]

    def run(self, *words):
        done = subprocess.run([BINARY, *words], cwd=self.place, env=self.environment, capture_output=True, text=True)
        told = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        print(f"$ {' '.join(words)}: exit {done.returncode}\n  {done.stdout.strip()}", *told, sep="\n  ", flush=True)

    def handler(self):
        self.port = free_port()
        self.log = open(self.place / "log.txt", "w+", encoding="utf-8")
        environment = {**self.environment, "FUNCTIONS_CUSTOMHANDLER_PORT": str(self.port)}
        streams = {"stdout": self.log, "stderr": self.log}
        self.process = subprocess.Popen([BINARY, "serve"], cwd=self.place, env=environment, **streams)
        wait_for("the handler", lambda: accepts(self.port))
        return self

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.seek(0)
        print(*(line for line in self.log.read().splitlines() if "  INFO " not in line), sep="\n", flush=True)

    def call(self, name, data, **metadata):
        status, answer = post(self.port, name, {"Data": data, "Metadata": {**metadata, "sys": {"MethodName": name}}})
        return status, answer

    def message(self, value):
        status, answer = self.call("IngestQueue", {"work": value}, DequeueCount="1")
        print(f"message {json.dumps(value)}: {status} {answer['Logs']}", flush=True)

    def tick(self):
        status, answer = self.call("IngestTimer", {"timer": {"IsPastDue": False}})
        print(f"timer: {status} {answer['Logs']}", flush=True)

    def status(self, run=None):
        url = "http://localhost:7071/api/ingest/runs" + (f"/{run}" if run else "")
        request = {"Url": url, "Method": "GET", "Query": {}, "Headers": {"Host": ["localhost:7071"]}}
        request |= {"Params": {"id": run} if run else {}, "Identities": []}
        metadata = {"id": json.dumps(run)} if run else {}
        answer = self.call("IngestStatus", {"req": request}, **metadata)[1]["Outputs"]["res"]
        body = json.loads(answer["body"])
        if "runs" in body:
            shown = [run["id"] for run in body["runs"]]
        else:
            shown = {name: body.get(name) for name in ("error", "status", "sources")}
        print(f"status {run or 'of all'}: {answer['statusCode']} {json.dumps(shown)[:400]}", flush=True)


class World:
    def __init__(self, place):
        self.place = Path(place)
        (self.place / "served").mkdir()
        unpack = ["tar", "-xzf", FIXTURE / "served.tar.gz", "-C", self.place / "served"]
        subprocess.run(unpack, check=True, stderr=subprocess.DEVNULL)  # It warns of a file from the future.
        machine, lists = (Server(self.place / "served", machine) for machine in (True, False))
        self.ports = {"port": machine.port, "list_port": lists.port}
        self.azurite = Azurite(TOOLS, f"{place}/azurite")

    def ledgers(self):
        case = Case(self, "head.json with schema 3")
        case.edit(ACME + "head.json", line, schema=3)
        for words in ["ledger show", "run", "plan", "audit", "ledger rebuild", "run"]:
            case.run(*words.split(), "--source", "acme")
        case = Case(self, "head.json with schema 3, handler")
        case.edit(ACME + "head.json", line, schema=3)
        case.handler().tick()
        case.message({"run": "20261129T120000Z-00000000", "source": "acme", "task": "plan"})
        case.end()
        case = Case(self, "head.json with schema 3 in an open pass, handler")
        case.edit(PIECES + "ledger/head.json", line, schema=3)
        case.handler().tick()
        case.message(message("piece-waiting"))
        case.message(message("piece-under-way"))
        case.end()
        case = Case(self, "head.json with an unknown member")
        case.edit(ACME + "head.json", line, new=1)
        case.run("run", "--source", "acme")
        print("the member is kept:", "new" in json.loads(case.get(ACME + "head.json")))
        for what, change in [
            (
                "first line of a journal says version 3",
                lambda old: line({"t": "schema", "version": 3}) + old.split(b"\n", 1)[1],
            ),
            ("line of a journal with an unknown t", lambda old: old + line({"t": "gone", "path": "/acme/x"})),
            ("line of a journal with an unknown member", lambda old: old + line({"t": "end", "run": "x", "new": 1})),
        ]:
            case = Case(self, what)
            case.put(case.journal(), change(case.get(case.journal())))
            for words in ["ledger show", "run"]:
                case.run(*words.split(), "--source", "acme")
            of_piece = json.loads(case.get(WORK + "piece-00002.ndjson").split(b"\n", 1)[0])["journal"]
            case.put(PIECES + "ledger/" + of_piece, change(case.get(PIECES + "ledger/" + of_piece)))
            case.handler().message({"run": "20261129T120000Z-00000000", "source": "acme", "task": "plan"})
            for name in ["piece-waiting", "piece-under-way"]:
                case.message(message(name))
            case.end()

    def passes(self):
        for what, name, members in [
            ("plan.json with schema 2", "plan.json", {"schema": 2}),
            ("plan.json with an unknown member", "plan.json", {"new": 1}),
            ("result with schema 2", "result-00000.json", {"schema": 2}),
            ("result with an unknown member", "result-00000.json", {"new": 1}),
        ]:
            case = Case(self, what)
            case.edit(WORK + name, **members)
            case.handler().status(message("piece-waiting")["run"])
            for name in ["piece-waiting", "piece-under-way", "plan-done"]:
                case.message(message(name))
            case.tick()
            case.end()
            case.run("run", "--source", "pieces")
        case = Case(self, "piece with schema 2")
        header, rest = case.get(WORK + "piece-00002.ndjson").split(b"\n", 1)
        case.put(WORK + "piece-00002.ndjson", json.dumps({**json.loads(header), "schema": 2}).encode() + b"\n" + rest)
        case.handler().message(message("piece-waiting"))
        case.end()

    def messages(self):
        case = Case(self, "messages")
        case.handler()
        case.message(message("piece-waiting", v=2))
        case.message(message("plan-waiting", v=2))
        case.message(message("plan-waiting", task="verify"))
        poison = f"{case.queue}-poison"
        self.azurite.send(poison, json.dumps(message("plan-waiting", task="verify")))
        case.tick()
        time.sleep(1)
        print("left in the poison queue:", self.azurite.count(poison))
        case.end()

    def records(self):
        run = message("plan-waiting")["run"]
        name = f"_blobferry/_runs/{run[:8]}/{run}.json"
        case = Case(self, "records of runs").handler()
        for members in [{"new": 1}, {"status": "partial"}, {"status": "running", "trigger": "cli"}]:
            print(members)
            case.edit(name, **members)
            case.status(run)
            case.status()
        case.end()
        case = Case(self, "asked and auth that cannot be read")
        case.put("_blobferry/later/asked", b'{"v":2}')
        case.put("_blobferry/locked/auth", b'{"v":2}')
        case.run("run", "--source", "locked")
        case.handler().tick()
        case.end()


with tempfile.TemporaryDirectory() as place:
    world = World(place)
    try:
        for part in (world.ledgers, world.passes, world.messages, world.records):
            part()
    finally:
        world.azurite.process.kill()
