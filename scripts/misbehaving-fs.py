#!/usr/bin/python3
"""A file system that misbehaves, by FUSE: misbehaving-fs.py FOLDER MODE [NAME]. It holds `f01` to `f20`.

eio: `NAME` cannot be described; hang-read, hang-stat, hang-list: a call never returns; twice: each entry is listed twice;
busy: `NAME` is busy at its first open; stale: reading `NAME` fails with ESTALE at first; other: `NAME` is another size than
listed. Needs fusepy (Debian: python3-fusepy)."""
import errno
import stat
import sys
import time

sys.path.insert(0, "/usr/lib/python3/dist-packages")
from fusepy import FUSE, FuseOSError, Operations  # noqa: E402

FOLDER, MODE = sys.argv[1:3]
NAME = "/" + (sys.argv[3] if len(sys.argv) > 3 else "f03")
SIZE = 600_000


class Misbehaving(Operations):
    def __init__(self):
        self.tries = 0

    def first(self, path):
        self.tries += path == NAME
        return path == NAME and self.tries == 1

    def getattr(self, path, fh=None):
        if path == "/":
            return dict(st_mode=stat.S_IFDIR | 0o755, st_nlink=2)
        if path[1:] not in NAMES:
            raise FuseOSError(errno.ENOENT)
        if MODE == "eio" and path == NAME:
            raise FuseOSError(errno.EIO)
        if MODE == "hang-stat" and path == NAME:
            time.sleep(9999)
        return dict(st_mode=stat.S_IFREG | 0o644, st_nlink=1, st_size=SIZE, st_mtime=1.6e9)

    def readdir(self, path, fh):
        if MODE == "hang-list":
            time.sleep(9999)
        names = NAMES * 2 if MODE == "twice" else NAMES
        return [".", ".."] + names

    def open(self, path, flags):
        if MODE == "busy" and self.first(path):
            raise FuseOSError(errno.EBUSY)
        return 0

    def read(self, path, size, offset, fh):
        if MODE == "hang-read" and path == NAME and offset:
            time.sleep(9999)
        if MODE == "stale" and self.first(path):
            raise FuseOSError(errno.ESTALE)
        end = SIZE // 2 if MODE == "other" and path == NAME else SIZE
        return b"x" * max(0, min(size, end - offset))


NAMES = [f"f{n:02}" for n in range(1, 21)]
FUSE(Misbehaving(), FOLDER, foreground=True, direct_io=True)
