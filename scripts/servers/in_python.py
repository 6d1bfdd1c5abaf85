"""Servers of PyPI packages, each a Python program; @ROOT@, @PORT@, @WORK@ and @MORE@ are filled in."""

import os
import sys

from place import NEW_YORK, NOT_ASCII, Kind, free_port

PYFTPDLIB = """
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
users = DummyAuthorizer(); users.add_user("u", "p", "@ROOT@", perm="elradfmw")
FTPHandler.authorizer = users
@MORE@
FTPServer(("127.0.0.1", @PORT@), FTPHandler).serve_forever()
"""

AIOFTP = """
import asyncio, aioftp, pathlib
user = aioftp.User("u", "p", base_path=pathlib.Path("@ROOT@")@MORE@)
asyncio.run(aioftp.Server([user]).run("127.0.0.1", @PORT@))
"""

TWISTED_FTP = """
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse as Users
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.protocols.ftp import FTPFactory, FTPRealm, FTPShell, IFTPShell
from twisted.python.filepath import FilePath
class Realm(FTPRealm):
    def requestAvatar(self, avatar, mind, *interfaces):
        return IFTPShell, FTPShell(FilePath("@ROOT@")), lambda: None
users = Users(); users.addUser("u", "p")
reactor.listenTCP(@PORT@, FTPFactory(Portal(Realm("@ROOT@"), [users])), interface="127.0.0.1")
reactor.run()
"""

ASYNCSSH = """
import asyncio, asyncssh
class Server(asyncssh.SSHServer):
    def password_auth_supported(self): return True
    def validate_password(self, user, password): return (user, password) == ("u", "p")
class Files(asyncssh.SFTPServer):
    def __init__(self, channel): super().__init__(channel, chroot="@ROOT@")
async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    await asyncssh.create_server(Server, "127.0.0.1", @PORT@, server_host_keys=[key], sftp_factory=Files@MORE@)
    await asyncio.Event().wait()
asyncio.run(main())
"""

PYFTPDLIB_TLS = """
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.servers import FTPServer
users = DummyAuthorizer(); users.add_user("u", "p", "@ROOT@", perm="elradfmw")
TLS_FTPHandler.authorizer = users
TLS_FTPHandler.certfile = "@WORK@/cert.pem"
@MORE@
TLS_FTPHandler.tls_control_required = TLS_FTPHandler.tls_data_required = True
FTPServer(("127.0.0.1", @PORT@), TLS_FTPHandler).serve_forever()
"""

# Serves the `Files` of a server of paramiko's kind to those whom its `Logins` let in.
PARAMIKO_LOOP = """
key = paramiko.RSAKey.generate(2048)
def serve(connection):
    transport = paramiko.Transport(connection)
    transport.add_server_key(key)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    transport.start_server(server=Logins())
    transport.join()
listener = socket.create_server(("127.0.0.1", @PORT@))
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""

PARAMIKO = """
import os, socket, threading, paramiko
from paramiko import SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface, SFTP_OK
root = "@ROOT@"
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
"""

TWISTED_CONCH = """
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
    def _absPath(self, path): return b"@ROOT@" + (b"" if path.startswith(b"/") else b"/") + path
    def realPath(self, path): return b"/" + path.strip(b"./") if path in (b"", b".", b"/") else path
class Realm:
    def requestAvatar(self, name, mind, *interfaces): return interfaces[0], Avatar(), lambda: None
# Without changing to another user of the system.
def as_is(self, calls, *words, **more):
    for call in [(calls, words, more)] if callable(calls) else calls:
        result = call[0](*(call[1] if len(call) > 1 else ()), **(call[2] if len(call) > 2 else {}))
    return result
Avatar._runAsUser = as_is
from twisted.python import components
components.registerAdapter(Files, Avatar, filetransfer.ISFTPServer)
users = Users(); users.addUser(b"u", b"p")
class Factory(factory.SSHFactory):
    key = keys.Key(ed25519.Ed25519PrivateKey.generate())
    publicKeys = {b"ssh-ed25519": key.public()}
    privateKeys = {b"ssh-ed25519": key}
    def getPrimes(self): return None
Factory.portal = Portal(Realm(), [users])
reactor.listenTCP(@PORT@, Factory(), interface="127.0.0.1")
reactor.run()
"""

# The package's own server serves one connection after the other and ends at the first that is none; its parts serve many.
SFTPSERVER = """
import socket, threading, paramiko
from sftpserver.stub_sftp import StubServer as Logins, StubSFTPServer as Files
Files.ROOT = "@ROOT@"
"""

# A program that speaks SFTP by its input and output, behind asyncssh.
PYSFTPSERVER = """
import asyncio, asyncssh, subprocess, sys, threading
program = (
    "from pysftpserver.server import SFTPServer; from pysftpserver.virtualchroot import SFTPServerVirtualChroot as Chroot; "
    "SFTPServer(Chroot('@ROOT@')).run()"
)
class Session(asyncssh.SSHServerSession):
    def connection_made(self, channel): self.channel = channel
    def subsystem_requested(self, name): return name == "sftp"
    def session_started(self):
        self.files = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        threading.Thread(target=self.answer, args=(asyncio.get_running_loop(),), daemon=True).start()
    def answer(self, loop):
        while answer := self.files.stdout.read(65536): loop.call_soon_threadsafe(self.channel.write, answer)
        loop.call_soon_threadsafe(self.channel.exit, self.files.wait())
    def data_received(self, asked, kind): self.files.stdin.write(asked)
    def eof_received(self): self.files.stdin.close()
    def connection_lost(self, error): self.files.kill()
class Server(asyncssh.SSHServer):
    def password_auth_supported(self): return True
    def validate_password(self, user, password): return (user, password) == ("u", "p")
    def session_requested(self): return Session()
async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    await asyncssh.create_server(Server, "127.0.0.1", @PORT@, server_host_keys=[key], encoding=None)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def python(text, more="", path=""):
    """A program for this Python; `path` is a folder of packages that goes before the others."""

    def start(place):
        if place.kind.scheme == "ftpes":
            place.certificate()
        if "host_key" in text:
            place.key("host_key", "rsa", "-m", "PEM")
        filled = text.strip()
        for mark, value in {"@MORE@": more, "@ROOT@": place.served, "@PORT@": place.port, "@WORK@": place.work}.items():
            filled = filled.replace(mark, str(value))
        packages = os.environ.get("PYTHONPATH", "")
        if path:
            packages = f"{os.environ.get(path, '')}:{packages}"
        return [sys.executable, "-c", filled], {"PYTHONPATH": packages}

    return start


def copyparty(place):
    words = [sys.executable, "-m", "copyparty", f"--{place.kind.scheme}", str(place.port), "-i", "127.0.0.1", "-p", str(free_port())]
    words += ["-a", "u:p", "-v", f"{place.served}::r,u", "-nw", "-q"]
    if place.kind.scheme == "sftp":
        words += ["--sftp-pw", "--sftp-hostk", str(place.work)]
    return words, {"HOME": str(place.work), "XDG_CONFIG_HOME": str(place.work)}


WITHOUT_MLSD = "del FTPHandler.proto_cmds['MLSD'], FTPHandler.proto_cmds['MLST']"
WITHOUT_EPSV = "del FTPHandler.proto_cmds['EPSV'], FTPHandler.proto_cmds['EPRT']"
ONE_CONNECTION = "FTPServer.max_cons_per_ip = 1"
LOCAL_TIME = "FTPHandler.use_gmt_times = False"

SERVERS = {
    "pyftpdlib": Kind("ftp", python(PYFTPDLIB)),
    "pyftpdlib, no MLSD": Kind("ftp", python(PYFTPDLIB, WITHOUT_MLSD)),
    "pyftpdlib, no MLSD, local times": Kind("ftp", python(PYFTPDLIB, f"{WITHOUT_MLSD}\n{LOCAL_TIME}"), zone=NEW_YORK),
    "pyftpdlib, local times": Kind("ftp", python(PYFTPDLIB, LOCAL_TIME), zone=NEW_YORK),
    "pyftpdlib, no EPSV, wrong passive address": Kind("ftp", python(PYFTPDLIB, f"{WITHOUT_EPSV}\nFTPHandler.masquerade_address = '192.0.2.1'")),
    "pyftpdlib, one connection": Kind("ftp", python(PYFTPDLIB, ONE_CONNECTION)),
    "pyftpdlib 1.5": Kind("ftp", python(PYFTPDLIB, path="OLD_PYFTPDLIB")),
    "pyftpdlib, TLS": Kind("ftpes", python(PYFTPDLIB_TLS)),
    "aioftp": Kind("ftp", python(AIOFTP)),
    "aioftp, one connection": Kind("ftp", python(AIOFTP, ", maximum_connections=1")),
    "twisted ftp": Kind("ftp", python(TWISTED_FTP), loses=(NOT_ASCII,)),
    "asyncssh": Kind("sftp", python(ASYNCSSH)),
    "asyncssh, SFTP 6": Kind("sftp", python(ASYNCSSH, ", sftp_version=6")),
    "asyncssh, short packets": Kind("sftp", python(ASYNCSSH, ", window=16384, max_pktsize=1024")),
    "asyncssh, keys anew each MB": Kind("sftp", python(ASYNCSSH, ", rekey_bytes=1000000")),
    "paramiko": Kind("sftp", python(PARAMIKO + PARAMIKO_LOOP)),
    "sftpserver": Kind("sftp", python(SFTPSERVER + PARAMIKO_LOOP)),
    "copyparty": Kind("ftp", copyparty),
    "copyparty's sftp": Kind("sftp", copyparty),
    "pysftpserver": Kind("sftp", python(PYSFTPSERVER), absolute=True),
    "twisted conch": Kind("sftp", python(TWISTED_CONCH)),
}
