"""Plays blobferry's full cycle against servers of other projects; see scripts/servers.sh.

Every verdict follows from exit statuses, reports and the SHA-256 of what is served and of what is stored.
"""

import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BF = os.environ["BF"]
RCLONE = os.environ.get("RCLONE", "rclone")
FILES = 102
MARK = "\n## Servers of other projects\n"

# Each serves the folder {root} on 127.0.0.1:{port} to `u` with the password `p`.
SERVERS = {
    "pyftpdlib": ("ftp", """
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import FTPServer
        users = DummyAuthorizer(); users.add_user("u", "p", "{root}", perm="elradfmw")
        FTPHandler.authorizer = users
        FTPServer(("127.0.0.1", {port}), FTPHandler).serve_forever()
        """),
    "aioftp": ("ftp", """
        import asyncio, aioftp, pathlib
        user = aioftp.User("u", "p", base_path=pathlib.Path("{root}"))
        asyncio.run(aioftp.Server([user]).run("127.0.0.1", {port}))
        """),
    "twisted ftp": ("ftp", """
        from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse as Users
        from twisted.cred.portal import Portal
        from twisted.internet import reactor
        from twisted.protocols.ftp import FTPFactory, FTPRealm, FTPShell, IFTPShell
        from twisted.python.filepath import FilePath
        class Realm(FTPRealm):
            def requestAvatar(self, avatar, mind, *interfaces):
                return IFTPShell, FTPShell(FilePath("{root}")), lambda: None
        users = Users(); users.addUser("u", "p")
        reactor.listenTCP({port}, FTPFactory(Portal(Realm("{root}"), [users])), interface="127.0.0.1")
        reactor.run()
        """),
    "asyncssh": ("sftp", """
        import asyncio, asyncssh
        class Server(asyncssh.SSHServer):
            def password_auth_supported(self): return True
            def validate_password(self, user, password): return (user, password) == ("u", "p")
        class Files(asyncssh.SFTPServer):
            def __init__(self, channel): super().__init__(channel, chroot="{root}")
        async def main():
            key = asyncssh.generate_private_key("ssh-ed25519")
            await asyncssh.create_server(Server, "127.0.0.1", {port}, server_host_keys=[key], sftp_factory=Files)
            await asyncio.Event().wait()
        asyncio.run(main())
        """),
    "rclone serve ftp": ("ftp", None),
    "rclone serve sftp": ("sftp", None),
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server, as long as the block lasts."""

    def __init__(self, name, root):
        self.scheme, source = SERVERS[name]
        self.port = free_port()
        if source is None:
            words = [RCLONE, "serve", self.scheme, str(root), "--addr", f"127.0.0.1:{self.port}", "--user", "u", "--pass", "p", "--dir-cache-time", "0"]
        else:
            words = [sys.executable, "-c", textwrap.dedent(source).format(root=root, port=self.port)]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(150):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        raise SystemExit("the server does not listen")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def sums(folder):
    """The SHA-256 of every file below a folder, by its path there."""
    found = {}
    for file in pathlib.Path(folder).rglob("*"):
        path = file.relative_to(folder)
        if file.is_file() and not any("blobferry" in part for part in path.parts):
            found[str(path)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


class Cycle:
    def __init__(self, name, work):
        self.work, self.root, self.wrong = work, work / "served", []
        (self.root / "out/sub").mkdir(parents=True)
        for number in range(FILES - 2):
            (self.root / f"out/file {number:03}.csv").write_bytes(os.urandom(number * 997))
        (self.root / "out/empty").write_bytes(b"")
        (self.root / "out/sub/deep.bin").write_bytes(os.urandom(3_000_000))
        for file in self.root.rglob("*"):
            os.utime(file, (1_700_000_000, 1_700_000_000))

    def call(self, *words):
        start = time.monotonic()
        done = subprocess.run([BF, *words, "--config", "ingest.toml"], cwd=self.work, capture_output=True, text=True, timeout=600)
        return done.returncode, done.stdout + done.stderr, time.monotonic() - start

    def hold(self, what, truth):
        if not truth:
            self.wrong.append(what)

    def configure(self, server):
        text = f'[destination]\nfolder = "stored"\n[log]\nfiles = false\n[[source]]\nname = "s"\nurl = "{server.scheme}://u:p@127.0.0.1:{server.port}/out"\nstable_for = "0s"\n'
        if server.scheme == "sftp":
            (self.work / "ingest.toml").write_text(text)
            shown = self.call("check")[1]
            text += next(line.strip() for line in shown.splitlines() if line.strip().startswith("host_key = ")) + "\n"
        (self.work / "ingest.toml").write_text(text)

    def play(self, server):
        self.configure(server)
        self.hold("check", self.call("check")[0] == 0)
        self.hold("plan", self.call("plan")[0] == 0)
        code, text, first = self.call("run")
        served = sums(self.root / "out")
        stored = sums(self.work / "stored")
        self.hold(f"first run: status {code}", code == 0)
        self.hold("every file is there, byte for byte", sorted(served.values()) == sorted(stored.values()))
        code, text, second = self.call("run")
        self.hold("second run: nothing", code == 0 and "ingested 0" in text)
        (self.root / "out/file 007.csv").write_bytes(b"changed")
        (self.root / "out/new.csv").write_bytes(b"new")
        (self.root / "out/file 008.csv").unlink()
        code, text, _ = self.call("run")
        self.hold("third run: what changed, and what is new", code == 0 and "ingested 2" in text)
        digests = set(sums(self.work / "stored").values())
        self.hold("changed bytes", {hashlib.sha256(b).hexdigest() for b in (b"changed", b"new")} <= digests)
        self.hold("audit", self.call("audit", "--download")[0] == 0)
        return first, second


def main(words):
    write = "--write" in words
    names = [word for word in words if not word.startswith("--")] or list(SERVERS)
    lines, bad = ["| server | files | first run | second run | verdict |", "|---|---|---|---|---|"], False
    for name in names:
        with tempfile.TemporaryDirectory(prefix="blobferry-servers-") as folder:
            cycle = Cycle(name, pathlib.Path(folder))
            with Server(name, cycle.root) as server:
                first, second = cycle.play(server)
        verdict = "right" if not cycle.wrong else "WRONG: " + "; ".join(cycle.wrong)
        bad |= bool(cycle.wrong)
        lines.append(f"| {name} ({server.scheme}) | {FILES} | {first:.1f} s | {second:.1f} s | {verdict} |")
        print(lines[-1], flush=True)
    if write:
        page = ROOT / "docs/matrix.md"
        text = page.read_text().split(MARK)[0].rstrip("\n")
        note = "Made by `scripts/servers.sh --write`: check, plan, two runs, a change, a new file and a delete, a comparison of every SHA-256, `audit --download`."
        page.write_text(f"{text}\n{MARK}\n{note}\n\n" + "\n".join(lines) + "\n")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
