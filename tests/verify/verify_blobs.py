#!/usr/bin/env python3
"""Compares a container with the folder that was ingested into it: both ways, byte by byte.

It shares no code with the program under test. For each blob it takes the metadata at its word, looks for the file
(or the member of a zip archive) that it names, and compares SHA-256, size and modified time; and it checks that
Content-MD5 is the MD5 of the bytes that the store gives back. Then nothing may be missing, and nothing may be
there that no file explains, but names under `_blobferry/`.

Prints one line of JSON; the exit code is 0 when everything agrees, 1 when not, 2 when it could not compare.
The Azure SDK (azure-storage-blob) comes from the folder of scripts/install-test-tools.sh, by PYTHONPATH.
"""

import argparse
import hashlib
import json
import os
import stat
import sys
import zipfile
from collections import Counter, defaultdict
from datetime import datetime, timezone
from urllib.parse import unquote_to_bytes

OWN = "_blobferry/"
SHOWN = 20  # problems spelled out; all of them are counted


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connection-string", required=True)
    parser.add_argument("--container", required=True)
    parser.add_argument("--source", help="only blobs of this source; default: all must be of one")
    parser.add_argument("--root", required=True, help="the folder on disk that was served")
    parser.add_argument("--url-root", default="/", help="that folder's path on the server (percent-escaped as in a URL)")
    parser.add_argument("--except", dest="left_out", metavar="FILE",
                        help="percent-escaped paths below the root, one a line, that must not have arrived")
    parser.add_argument("--mtime", choices=["second", "minute", "day", "none"], default="second",
                        help="how exactly the server tells modified times")
    parser.add_argument("--versions", choices=["one", "keep"], default="one",
                        help="keep: a file may have older versions beside the one on disk")
    parser.add_argument("--api-version", default="2025-11-05", help="of the storage's REST interface")
    return parser.parse_args()


def sha256_of(stream):
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


class Disk:
    """The files below the root, by their path in bytes, and the members of those that are zip archives."""

    def __init__(self, root):
        self.root = os.fsencode(root)
        self.files = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode):
                    self.files[os.path.relpath(path, self.root)] = status

    def open(self, path):
        return open(os.path.join(self.root, path), "rb")

    def sha256(self, path):
        with self.open(path) as stream:
            return sha256_of(stream)

    def members(self, path):
        """For each file in the archive: the names it may go by, SHA-256, size, time. None if it is no readable zip."""
        try:
            with self.open(path) as stream, zipfile.ZipFile(stream) as archive:
                found = []
                for info in archive.infolist():
                    if info.is_dir():
                        continue
                    with archive.open(info) as member:
                        # Without extra fields there is no other time than this one, which has no zone: UTC then.
                        modified = None if info.extra else datetime(*info.date_time, tzinfo=timezone.utc)
                        found.append((member_names(info), sha256_of(member), info.file_size, modified))
                return found
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
            return None


def member_names(info):
    """The raw bytes of a member's name, and the decoded name as UTF-8."""
    utf8 = bool(info.flag_bits & 0x800)
    raw = info.orig_filename.encode("utf-8" if utf8 else "cp437")
    names = {raw, info.orig_filename.encode(), info.filename.encode()}
    if not utf8:
        for charset in ("utf-8", "cp932"):
            try:
                names.add(raw.decode(charset).encode())
            except UnicodeDecodeError:
                pass
    return names | {name.replace(b"\\", b"/") for name in names}


class Blob:
    """A blob as the store gives it back."""

    def __init__(self, container, item):
        client = container.get_blob_client(item.name)
        download = client.download_blob()
        sha256, md5, self.size = hashlib.sha256(), hashlib.md5(), 0
        for chunk in download.chunks():
            sha256.update(chunk)
            md5.update(chunk)
            self.size += len(chunk)
        self.name, self.sha256, self.md5 = item.name, sha256.hexdigest(), md5.digest()
        properties = client.get_blob_properties()
        self.metadata = {key.lower(): value for key, value in (properties.metadata or {}).items()}
        told = properties.content_settings.content_md5
        self.told_md5 = bytes(told) if told else None
        self.told_size = properties.size


def told_time(blob):
    """The modified time that the blob's metadata tells, or None."""
    try:
        return datetime.fromisoformat(blob.metadata["mtime"].replace("Z", "+00:00")).astimezone(timezone.utc)
    except (KeyError, ValueError):
        return None


def is_named(blob, names):
    """Whether the blob says to be the member of one of these names; of very long ones it tells the SHA-256."""
    digest = blob.metadata.get("member_sha256")
    if digest is not None:
        return digest in {hashlib.sha256(name).hexdigest() for name in names}
    return unquote_to_bytes(blob.metadata["member"]) in names


class Comparison:
    def __init__(self, options):
        self.options = options
        self.counts = Counter()
        self.problems = []

    def problem(self, kind, what):
        self.counts[kind] += 1
        self.problems.append(f"{kind}: {what}")

    def own_words(self, blob):
        """What a blob says about itself must hold, whatever it is."""
        if blob.told_md5 is None:
            self.problem("no_content_md5", blob.name)
        elif blob.told_md5 != blob.md5:
            self.problem("wrong_content_md5", blob.name)
        if blob.told_size != blob.size:
            self.problem("wrong_size", f"{blob.name}: told {blob.told_size}, got {blob.size}")
        if blob.metadata.get("sha256", blob.sha256) != blob.sha256:
            self.problem("wrong_sha256_metadata", blob.name)

    def path_of(self, blob):
        """The path below the root that the blob's metadata names, or None."""
        escaped = blob.metadata.get("source_path")
        if escaped is None:
            return None
        path = b"/" + unquote_to_bytes(escaped).lstrip(b"/")
        base = b"/" + unquote_to_bytes(self.options.url_root).strip(b"/")
        base = base if base.endswith(b"/") else base + b"/"
        return path[len(base):] if path.startswith(base) else None

    def same_time(self, blob, status):
        step = {"second": 1, "minute": 60, "day": 86400}.get(self.options.mtime)
        if step is None:
            return True
        told = told_time(blob)
        return told is not None and int(told.timestamp()) // step == int(status.st_mtime) // step

    def whole_file(self, disk, path, blobs):
        """The blobs that say to be this file: one of them is what is on disk now."""
        status, sha256 = disk.files[path], disk.sha256(path)
        current = [blob for blob in blobs if blob.sha256 == sha256 and blob.size == status.st_size]
        if not current:
            self.problem("different_content", os.fsdecode(path))
            return
        self.counts["files"] += 1
        if not any(self.same_time(blob, status) for blob in current):
            self.problem("different_mtime", f"{os.fsdecode(path)}: {current[0].metadata.get('mtime')}")
        for blob in current:
            if int(blob.metadata.get("source_size", status.st_size)) != status.st_size:
                self.problem("wrong_source_size", blob.name)
        self.counts["older_versions"] += len(blobs) - 1
        if len(blobs) > 1 and self.options.versions == "one":
            self.problem("more_than_once", f"{os.fsdecode(path)}: {[blob.name for blob in blobs]}")

    def unpacked(self, disk, path, blobs):
        """The blobs that say to be members of this archive: each member is there, and nothing else."""
        members = disk.members(path)
        if members is None:
            self.problem("no_such_archive", os.fsdecode(path))
            return
        left = list(blobs)
        for names, sha256, size, modified in members:
            match = next((blob for blob in left if blob.sha256 == sha256 and blob.size == size and is_named(blob, names)), None)
            if match is None:
                self.problem("missing_member", f"{os.fsdecode(path)}: {sorted(names)[0]!r}")
            else:
                left.remove(match)
                if modified and self.options.mtime != "none" and told_time(match) != modified:
                    self.problem("different_member_mtime", f"{match.name}: {match.metadata.get('mtime')}, not {modified}")
                self.counts["members"] += 1
        if self.options.versions == "one":
            for blob in left:
                self.problem("extra_member", blob.name)
        else:
            self.counts["older_versions"] += len(left)

    def run(self, disk, blobs, left_out):
        files, members = defaultdict(list), defaultdict(list)
        for blob in blobs:
            self.own_words(blob)
            path = self.path_of(blob)
            if path is None or path not in disk.files or path in left_out:
                self.problem("extra", f"{blob.name} (source_path {blob.metadata.get('source_path')})")
            elif "member" in blob.metadata or "member_sha256" in blob.metadata:
                members[path].append(blob)
            else:
                files[path].append(blob)
        for path in sorted(disk.files):
            if path in files:
                self.whole_file(disk, path, files[path])
            if path in members:
                self.unpacked(disk, path, members[path])
            if path not in files and path not in members and path not in left_out:
                if disk.members(path) == []:
                    self.counts["empty_archives"] += 1
                else:
                    self.problem("missing", os.fsdecode(path))


def main():
    options = arguments()
    from azure.storage.blob import BlobServiceClient

    service = BlobServiceClient.from_connection_string(options.connection_string, api_version=options.api_version)
    container = service.get_container_client(options.container)
    left_out = set()
    if options.left_out:
        with open(options.left_out, "rb") as lines:
            left_out = {unquote_to_bytes(line) for line in lines.read().splitlines() if line}
    comparison = Comparison(options)
    blobs, sources = [], set()
    for item in container.list_blobs():
        if item.name.startswith(OWN):
            comparison.counts["own"] += 1
            continue
        blob = Blob(container, item)
        source = blob.metadata.get("source")
        if options.source and source is not None and source != options.source:
            comparison.counts["other_sources"] += 1
            continue
        sources.add(source)
        blobs.append(blob)
    if len(sources) > 1:
        comparison.problem("several_sources", sorted(map(str, sources)))
    comparison.run(Disk(options.root), blobs, left_out)
    ok = not comparison.problems
    summary = {"ok": ok, "blobs": len(blobs), "bytes": sum(blob.size for blob in blobs), **dict(sorted(comparison.counts.items()))}
    if not ok:
        summary["problems"] = comparison.problems[:SHOWN]
    # A file name may hold any byte: the line stays ASCII.
    print(json.dumps(summary, ensure_ascii=True))
    return 0 if ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception as error:  # whatever it is, it is no proof
        print(json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"}, ensure_ascii=True))
        sys.exit(2)
