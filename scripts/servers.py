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
NODE = os.environ.get("NODE", "node")
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
    "pyftpdlib tls": ("ftpes", """
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import TLS_FTPHandler
        from pyftpdlib.servers import FTPServer
        users = DummyAuthorizer(); users.add_user("u", "p", "{root}", perm="elradfmw")
        TLS_FTPHandler.authorizer = users
        TLS_FTPHandler.certfile = "{work}/cert.pem"
        TLS_FTPHandler.tls_control_required = TLS_FTPHandler.tls_data_required = True
        FTPServer(("127.0.0.1", {port}), TLS_FTPHandler).serve_forever()
        """),
    "paramiko": ("sftp", """
        import os, socket, threading, paramiko
        from paramiko import SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface, SFTP_OK
        root = "{root}"
        class Logins(paramiko.ServerInterface):
            def check_auth_password(self, user, password):
                good = (user, password) == ("u", "p")
                return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED
            def check_channel_request(self, kind, number): return paramiko.OPEN_SUCCEEDED
            def get_allowed_auths(self, user): return "password"
        class Handle(SFTPHandle):
            def stat(self): return SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))
        class Files(SFTPServerInterface):
            def here(self, path): return root + self.canonicalize(path)
            def list_folder(self, path):
                try:
                    found = []
                    for name in os.listdir(self.here(path)):
                        found.append(SFTPAttributes.from_stat(os.lstat(self.here(path) + "/" + name), name))
                    return found
                except OSError as error: return SFTPServer.convert_errno(error.errno)
            def stat(self, path):
                try: return SFTPAttributes.from_stat(os.stat(self.here(path)))
                except OSError as error: return SFTPServer.convert_errno(error.errno)
            lstat = stat
            def open(self, path, flags, attributes):
                try: file = open(self.here(path), "rb")
                except OSError as error: return SFTPServer.convert_errno(error.errno)
                handle = Handle(flags); handle.readfile = file
                return handle
        key = paramiko.RSAKey.generate(2048)
        def serve(connection):
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", SFTPServer, Files)
            transport.start_server(server=Logins())
            transport.join()
        listener = socket.create_server(("127.0.0.1", {port}))
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
        """),
    "twisted conch": ("sftp", """
        from twisted.conch.avatar import ConchUser
        from twisted.conch.ssh import factory, keys, session, filetransfer
        from twisted.conch.unix import SFTPServerForUnixConchUser
        from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse as Users
        from twisted.cred.portal import Portal
        from twisted.internet import reactor
        from cryptography.hazmat.primitives.asymmetric import ed25519
        class Avatar(ConchUser):
            def __init__(self):
                super().__init__()
                self.channelLookup[b"session"] = session.SSHSession
                self.subsystemLookup[b"sftp"] = filetransfer.FileTransferServer
        class Files(SFTPServerForUnixConchUser):
            def _absPath(self, path): return b"{root}" + (b"" if path.startswith(b"/") else b"/") + path
            def realPath(self, path): return b"/" + path.strip(b"./") if path in (b"", b".", b"/") else path
        class Realm:
            def requestAvatar(self, name, mind, *interfaces): return interfaces[0], Avatar(), lambda: None
        # Without changing to another user of the system.
        def as_is(self, calls, *words, **more):
            for call in [(calls, words, more)] if callable(calls) else calls:
                result = call[0](*(call[1] if len(call) > 1 else ()), **(call[2] if len(call) > 2 else {{}}))
            return result
        Avatar._runAsUser = as_is
        from twisted.python import components
        components.registerAdapter(Files, Avatar, filetransfer.ISFTPServer)
        users = Users(); users.addUser(b"u", b"p")
        class Factory(factory.SSHFactory):
            key = keys.Key(ed25519.Ed25519PrivateKey.generate())
            publicKeys = {{b"ssh-ed25519": key.public()}}
            privateKeys = {{b"ssh-ed25519": key}}
            def getPrimes(self): return None
        Factory.portal = Portal(Realm(), [users])
        reactor.listenTCP({port}, Factory(), interface="127.0.0.1")
        reactor.run()
        """),
    "ftp-srv": ("ftp", """// node
        const FtpSrv = require(process.env.MODULES + "/ftp-srv");
        const server = new FtpSrv({{ url: "ftp://127.0.0.1:{port}", pasv_url: "127.0.0.1", pasv_min: {port} + 1 }});
        server.on("login", (login, resolve, reject) =>
            login.username === "u" && login.password === "p" ? resolve({{ root: "{root}" }}) : reject(new Error("no")));
        server.listen();
        """),
    "ssh2": ("sftp", """// node
        const fs = require("fs"), path = require("path");
        const ssh2 = require(process.env.MODULES + "/ssh2");
        const {{ STATUS_CODE, flagsToString }} = ssh2.utils.sftp;
        const here = (name) => path.join("{root}", path.posix.normalize("/" + name));
        const told = (stat) => ({{ mode: stat.mode, uid: stat.uid, gid: stat.gid, size: stat.size,
            atime: Math.floor(stat.atimeMs / 1000), mtime: Math.floor(stat.mtimeMs / 1000) }});
        const serve = (sftp) => {{
            const open = new Map(); let next = 0;
            const handle = (value) => {{ const id = Buffer.alloc(4); id.writeUInt32BE(next); open.set(next++, value); return id; }};
            const of = (id) => open.get(id.readUInt32BE(0));
            const failed = (id, error) => sftp.status(id, error.code === "ENOENT" ? STATUS_CODE.NO_SUCH_FILE : STATUS_CODE.FAILURE);
            const described = (how) => (id, name) => {{
                try {{ sftp.attrs(id, told(how(here(name)))); }} catch (error) {{ failed(id, error); }}
            }};
            sftp.on("REALPATH", (id, name) => sftp.name(id, [{{ filename: path.posix.normalize("/" + name), longname: "", attrs: {{}} }}]));
            sftp.on("STAT", described(fs.statSync)).on("LSTAT", described(fs.lstatSync));
            sftp.on("FSTAT", (id, file) => sftp.attrs(id, told(fs.fstatSync(of(file)))));
            sftp.on("OPENDIR", (id, name) => {{
                try {{ sftp.handle(id, handle({{ folder: here(name), left: fs.readdirSync(here(name)) }})); }} catch (error) {{ failed(id, error); }}
            }});
            sftp.on("READDIR", (id, folder) => {{
                const one = of(folder), some = one.left.splice(0, 50);
                if (!some.length) return sftp.status(id, STATUS_CODE.EOF);
                sftp.name(id, some.map((filename) => ({{ filename, longname: filename, attrs: told(fs.lstatSync(path.join(one.folder, filename))) }})));
            }});
            sftp.on("OPEN", (id, name, flags) => {{
                try {{ sftp.handle(id, handle(fs.openSync(here(name), flagsToString(flags)))); }} catch (error) {{ failed(id, error); }}
            }});
            sftp.on("READ", (id, file, offset, length) => {{
                const bytes = Buffer.alloc(Math.min(length, 32768)), read = fs.readSync(of(file), bytes, 0, bytes.length, offset);
                read ? sftp.data(id, bytes.subarray(0, read)) : sftp.status(id, STATUS_CODE.EOF);
            }});
            sftp.on("CLOSE", (id, one) => {{ const value = of(one); if (typeof value === "number") fs.closeSync(value);
                open.delete(one.readUInt32BE(0)); sftp.status(id, STATUS_CODE.OK); }});
        }};
        const keys = ssh2.utils.generateKeyPairSync("ed25519");
        new ssh2.Server({{ hostKeys: [keys.private] }}, (client) => {{
            client.on("authentication", (login) => login.method === "password" && login.username === "u" && login.password === "p"
                ? login.accept() : login.reject(["password"]));
            client.on("error", () => {{}});
            client.on("ready", () => client.on("session", (accept) => accept().on("sftp", (accept) => serve(accept()))));
        }}).listen({port}, "127.0.0.1");
        """),
    "rclone serve ftp": ("ftp", None),
    "rclone serve sftp": ("sftp", None),
}




def by_erlang(work, root, port):
    """Erlang's ssh, unpacked from Debian's packages."""
    home = f"{DEBIAN}/usr/lib/erlang"
    runtime = next(pathlib.Path(home).glob("erts-*")) / "bin"
    key(work / "ssh_host_rsa_key", "rsa")
    start = (
        "{{ok, _}} = application:ensure_all_started(ssh), {{ok, _}} = ssh:daemon({{127,0,0,1}}, {port}, "
        '[{{system_dir, "{work}"}}, {{user_passwords, [{{"u", "p"}}]}}, '
        '{{subsystems, [ssh_sftpd:subsystem_spec([{{root, "{root}"}}, {{cwd, "/"}}])]}}]).'
    ).format(port=port, work=work, root=root)
    words = [str(runtime / "erlexec"), "-noinput", "-boot", f"{home}/releases/25/start_clean", "-eval", start]
    libraries = [str(found) for found in pathlib.Path(f"{home}/lib").glob("*/ebin")]
    return words[:1] + ["-pa", *libraries] + words[1:], {"ROOTDIR": home, "BINDIR": str(runtime), "EMU": "beam", "PROGNAME": "erl", "HOME": str(work)}


def key(file, kind):
    subprocess.run([KEYGEN, "-q", "-t", kind, "-N", "", "-m", "PEM", "-f", file], check=True, capture_output=True)


DEBIAN = os.environ.get("SERVERS_DEBIAN", "/")
KEYGEN = os.environ.get("KEYGEN", "ssh-keygen")
SERVERS["erlang ssh"] = ("sftp", by_erlang)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def certificate(file):
    """Makes a certificate that is signed by itself, with its key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout", file, "-out", f"{file}.crt"],
        check=True,
        capture_output=True,
    )
    with open(file, "ab") as whole:
        whole.write(pathlib.Path(f"{file}.crt").read_bytes())


class Server:
    """A server, as long as the block lasts."""

    def __init__(self, name, root):
        self.scheme, source = SERVERS[name]
        self.port, environment = free_port(), None
        if source is None:
            words = [RCLONE, "serve", self.scheme, str(root), "--addr", f"127.0.0.1:{self.port}", "--user", "u", "--pass", "p", "--dir-cache-time", "0"]
        elif callable(source):
            words, environment = source(root.parent, root, self.port)
        else:
            is_node = source.startswith("// node")
            text = textwrap.dedent(source.removeprefix("// node")).format(root=root, port=self.port, work=root.parent)
            words = [NODE, "-e", text] if is_node else [sys.executable, "-c", text]
        if self.scheme == "ftpes":
            certificate(root.parent / "cert.pem")
        shown = None if os.environ.get("SHOW") else subprocess.DEVNULL
        self.process = subprocess.Popen(words, stdout=shown, stderr=shown, env=environment)

    def __enter__(self):
        for _ in range(600):
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
        pinned = {"sftp": "host_key = ", "ftpes": "tls_pin = "}.get(server.scheme)
        if pinned:
            (self.work / "ingest.toml").write_text(text)
            shown = self.call("check")[1]
            text += next(line.strip() for line in shown.splitlines() if line.strip().startswith(pinned)) + "\n"
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
