"""Where make.py and later.py play: Azurite, the configuration, calls of the handler as its host makes them."""

import base64
import hmac
import http.client
import json
import socket
import subprocess
import time
import urllib.parse
import xml.etree.ElementTree as xml
from email.utils import formatdate

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

CONFIG = """\
# Made by scripts/make-state-0.1.sh. Words in braces are put in by whoever reads it.
[destination]
{destination}

[dispatch]
mode = "queue"
piece_files = 2

[log]
files = false

[[source]]
name = "acme"
url = "ftp://user:password@127.0.0.1:{port}/acme"
stable_for = "0s"
attempts = 1
connections = 2
quarantine = true

[[source]]
name = "coarse"
url = "ftp://user:password@127.0.0.1:{list_port}/coarse"
stable_for = "0s"

[[source]]
name = "young"
url = "ftp://user:password@127.0.0.1:{port}/young"
stable_for = "1s"

[[source]]
name = "types"
url = "ftp://user:password@127.0.0.1:{port}/types"
stable_for = "0s"
layout = "by-type"

[[source]]
name = "locked"
url = "ftp://user:wrong@127.0.0.1:2190/locked"
stable_for = "0s"
retry_auth_after = "3650d"

[[source]]
name = "pieces"
url = "ftp://user:password@127.0.0.1:{port}/pieces"
stable_for = "0s"
connections = 2

[[source]]
name = "later"
url = "ftp://user:password@127.0.0.1:{port}/later"
stable_for = "0s"
"""


def wait_for(what, condition, limit=60):
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {limit} s for {what}"
        time.sleep(0.02)
    return found


class Azurite:
    def __init__(self, tools, place):
        self.blob, self.queue, table = (free_port() for _ in range(3))
        words = [tools / "node/node", tools / "node/node_modules/azurite/dist/src/azurite.js"]
        words += ["--skipApiVersionCheck", "--disableTelemetry", "--silent", "--location", place]
        for service, port in [("blob", self.blob), ("queue", self.queue), ("table", table)]:
            words += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
        self.process = subprocess.Popen([str(word) for word in words])
        for port in (self.blob, self.queue):
            wait_for("Azurite", lambda: accepts(port))
        url = f"http://127.0.0.1:{{}}/{ACCOUNT}"
        self.connection = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={url.format(self.blob)};QueueEndpoint={url.format(self.queue)};"
        )

    def ask(self, method, path, query, body=b"", header=None):
        """A request to the queue service, signed."""
        path, headers = f"/{ACCOUNT}/{path}", {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        length = str(len(body)) if body else ""
        signed = f"{method}\n\n\n{length}" + "\n" * 9
        signed += "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        signed += f"/{ACCOUNT}{path}" + "".join(f"\n{name}:{query[name]}" for name in sorted(query))
        mac = base64.b64encode(hmac.digest(base64.b64decode(KEY), signed.encode(), "sha256")).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.queue, timeout=30)
        headers = {**headers, "Authorization": f"SharedKey {ACCOUNT}:{mac}"}
        connection.request(method, f"{path}?{urllib.parse.urlencode(query)}", body or None, headers)
        answer = connection.getresponse()
        found = answer.read().decode("utf-8-sig")
        assert answer.status < 300, (answer.status, found)
        return answer.headers[header] if header else found

    def take(self, queue):
        """Texts of all messages, which are gone then."""
        found = self.ask("GET", f"{queue}/messages", {"numofmessages": "32", "peekonly": "true"})
        self.ask("DELETE", f"{queue}/messages", {})
        return [one.text for one in xml.fromstring(found).iter("MessageText")]

    def send(self, queue, text):
        """Makes the queue, with this message."""
        self.ask("PUT", queue, {})
        body = xml.Element("QueueMessage")
        xml.SubElement(body, "MessageText").text = text
        self.ask("POST", f"{queue}/messages", {}, xml.tostring(body))

    def count(self, queue):
        """Messages that are there, hidden ones too."""
        return int(self.ask("GET", queue, {"comp": "metadata"}, header="x-ms-approximate-messages-count"))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def ask(port, source):
    body = json.dumps({"sources": [source]})
    url = "http://localhost:7071/api/ingest"
    request = {"Url": url, "Method": "POST", "Query": {}, "Headers": {"Host": ["localhost:7071"]}}
    request |= {"Params": {}, "Identities": [], "Body": body}
    payload = {"Data": {"req": request}, "Metadata": {"Query": {}, "Headers": {}, "sys": {"MethodName": "IngestHttp"}}}
    status, answer = post(port, "IngestHttp", payload)
    assert status == 200 and answer["Outputs"]["res"]["statusCode"] == "202", (status, answer)


def post_message(port, text):
    payload = {"Data": {"work": json.loads(text)}, "Metadata": {"DequeueCount": "1", "sys": {"MethodName": "IngestQueue"}}}
    try:
        return post(port, "IngestQueue", payload)[0]
    except (OSError, http.client.HTTPException):
        return None


def post(port, function, payload):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", f"/{function}", json.dumps(payload), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
