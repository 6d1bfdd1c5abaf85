#!/usr/bin/env python3
"""Proves verify_blobs.py: a faithful container passes, and each way to spoil it is noticed.

Usage: self_test.py CONNECTION_STRING CONTAINER
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from datetime import datetime, timezone
from urllib.parse import quote_from_bytes

from azure.storage.blob import BlobServiceClient, ContentSettings

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = {b"plain.txt": b"one", b"empty": b"", b"caf\xe9 50%.bin": b"\x00\xff" * 1000, b"sub/a b": b"two", b"new\nline": b"three"}


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2020, 9, 13, 12, 26, 40)), content)
    return buffer.getvalue()


MEMBERS = [("one.txt", b"1"), ("d/\u00e9.txt", b"22"), ("d/empty", b"")]


def metadata(path, content, modified, **more):
    time = datetime.fromtimestamp(modified, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"mtime": time, "source": "acme", "source_path": quote_from_bytes(b"/out/" + path),
            "source_size": str(len(content)), "sha256": hashlib.sha256(content).hexdigest(), **more}


def upload(container, name, content, told, md5=None):
    settings = ContentSettings(content_md5=bytearray(hashlib.md5(content).digest()))
    blob = container.upload_blob(name, content, overwrite=True, metadata=told, content_settings=settings)
    if md5:  # the store checks it in an upload, but takes any later
        blob.set_http_headers(ContentSettings(content_md5=bytearray(md5)))


def fill(container, root):
    for index, (path, content) in enumerate([*FILES.items(), (b"a.zip", zipped(MEMBERS))]):
        local = os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(local), exist_ok=True)
        with open(local, "wb") as out:
            out.write(content)
        os.utime(local, (1_600_000_000 + index,) * 2)
        if path != b"a.zip":
            upload(container, f"acme/{index}", content, metadata(path, content, 1_600_000_000 + index))
            continue
        for name, member in MEMBERS:
            told = metadata(path, member, 1_600_000_000, archive="zip", member=quote_from_bytes(name.encode()))
            del told["source_size"]
            upload(container, f"acme/a.zip!/{name}", member, told)
    upload(container, "_blobferry/manifest", b"{}", {})


def verify(connection, container, root, *more):
    command = [sys.executable, os.path.join(HERE, "verify_blobs.py"), "--connection-string", connection,
               "--container", container, "--source", "acme", "--root", root, "--url-root", "/out", *more]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return result.returncode, json.loads(result.stdout)


def main():
    connection, name = sys.argv[1:]
    service = BlobServiceClient.from_connection_string(connection, api_version="2025-11-05")
    container = service.create_container(name)
    root = tempfile.mkdtemp()
    fill(container, root)
    plain = lambda **more: metadata(b"plain.txt", b"one", 1_600_000_000, **more)
    spoilers = {
        "different_content": lambda: upload(container, "acme/0", b"ONE", {**plain(), "sha256": hashlib.sha256(b"ONE").hexdigest()}),
        "wrong_sha256_metadata": lambda: upload(container, "acme/0", b"one", plain(sha256="0" * 64)),
        "wrong_content_md5": lambda: upload(container, "acme/0", b"one", plain(), md5=b"\0" * 16),
        "different_mtime": lambda: upload(container, "acme/0", b"one", metadata(b"plain.txt", b"one", 1_600_000_001)),
        "wrong_source_size": lambda: upload(container, "acme/0", b"one", plain(source_size="4")),
        "missing": lambda: container.delete_blob("acme/0"),
        "different_member_mtime": lambda: upload(container, "acme/a.zip!/one.txt", b"1", metadata(b"a.zip", b"1", 1, member="one.txt")),
        "missing_member": lambda: container.delete_blob("acme/a.zip!/one.txt"),
        "extra": lambda: upload(container, "acme/extra", b"x", metadata(b"nowhere", b"x", 1)),
        "more_than_once": lambda: upload(container, "acme/again", b"one", plain()),
        "extra_member": lambda: upload(container, "acme/a.zip!/two", b"x", metadata(b"a.zip", b"x", 1, member="two")),
    }
    expected = {"ok": True, "blobs": 8, "files": 5, "members": 3, "own": 1, "older_versions": 0, "bytes": 2014}
    code, summary = verify(connection, name, root)
    assert (code, summary) == (0, expected), summary
    for problem, spoil in spoilers.items():
        spoil()
        code, summary = verify(connection, name, root)
        assert code == 1 and summary.get(problem) == 1 and len(summary["problems"]) == 1, (problem, summary)
        for extra in ("acme/extra", "acme/again", "acme/a.zip!/two"):
            if problem.startswith(("extra", "more")) and container.get_blob_client(extra).exists():
                container.delete_blob(extra)
        fill(container, root)
    with open(os.path.join(root, "unreachable"), "w") as out:
        out.write("x")
    listed = os.path.join(root, "..", os.path.basename(root) + ".list")
    with open(listed, "w") as out:
        out.write("unreachable\n")
    assert verify(connection, name, root)[0] == 1
    assert verify(connection, name, root, "--except", listed)[0] == 0
    assert verify(connection, "no-such-container", root)[0] == 2
    os.remove(listed)
    print(f"verify_blobs.py noticed all {len(spoilers)} ways")


if __name__ == "__main__":
    main()
