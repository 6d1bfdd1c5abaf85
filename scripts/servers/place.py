"""What a server's start needs: the folder that it serves, a port, who logs in, and where programs are."""

import dataclasses
import fcntl
import os
import pathlib
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import typing

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = pathlib.Path(os.environ.get("TOOLS", "/nonexistent"))
# Daemons of the integration tests, and those that only this matrix plays.
DEBIAN, OTHERS = TOOLS / "debian", TOOLS / "servers/debian"
ROOT = os.geteuid() == 0
# The account of the integration tests (tests/it/servers/account.rs), whose password stands in a file of root's.
ACCOUNT, ACCOUNT_HOME = "blobferry-test", pathlib.Path("/var/lib/blobferry-test")


# Names that servers and clients spell in different ways.
NOT_ASCII, QUOTED, BLANKS = "größe 5 €.csv", "'quoted' \"name\".csv", "two  blanks.csv"
NAMES = [NOT_ASCII, QUOTED, BLANKS, "a#b %41;c&d.csv", "[x]{y}.csv"]
# A time zone with summer time.
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A server as the matrix knows it: one entry of a table."""

    scheme: str
    # Makes what the server needs in its place and says the words of its command.
    start: typing.Callable
    # Who logs in: "own" (`u`, `p`: the server's own list), "system" (the account of the tests), "key" (that account's
    # key), "anonymous".
    login: str = "own"
    # Sessions see the whole file system, so the folder's path goes into the URL.
    absolute: bool = False
    # The server's time zone, as TZ of POSIX has it.
    zone: str = "UTC0"
    # Only root can start it.
    root: bool = False
    # What runs have to say where the server keeps something back; nothing that it gives may be lost all the same.
    says: str = ""
    # Names of the cycle at which the server ends, so that they are left out.
    lacks: tuple = ()
    # Names of the cycle that the server lists and does not give: runs have to tell of each.
    loses: tuple = ()
    # Lines of the source's table in ingest.toml.
    settings: str = ""

    @property
    def needs_root(self):
        return self.root or self.login in ("system", "key")


@dataclasses.dataclass
class Place:
    """Where one server works: `served` is what it serves, `work` the folder of its own files around it."""

    work: pathlib.Path
    served: pathlib.Path
    port: int
    kind: Kind

    def write(self, name, text, mode=0o600):
        file = self.work / name
        file.write_text(text)
        file.chmod(mode)
        return str(file)

    def key(self, name, kind, *options):
        """Makes a pair of SSH keys."""
        file = self.work / name
        run(DEBIAN / "usr/bin/ssh-keygen", "-q", "-t", kind, "-N", "", *options, "-f", file)
        return str(file)

    def certificate(self):
        """Makes a certificate that is signed by itself; one file holds it and its key."""
        file = self.work / "cert.pem"
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
            "-keyout", file, "-out", f"{file}.crt")
        with open(file, "ab") as both:
            both.write(pathlib.Path(f"{file}.crt").read_bytes())
        return str(file)

    def account(self):
        """Who owns the served folder: uid and gid."""
        entry = pwd.getpwnam(ACCOUNT) if ROOT else pwd.getpwuid(os.getuid())
        return entry.pw_uid, entry.pw_gid

    def login(self):
        """The user of the URL, and the credential's line in ingest.toml."""
        match self.kind.login:
            case "own":
                return "u", 'password = "p"'
            case "anonymous":
                return "anonymous", 'password = "me@example.com"'
            case "system":
                return ACCOUNT, f'password = "{(ACCOUNT_HOME / "password").read_text()}"'
            case "key":
                return ACCOUNT, f'private_key_file = "{self.work / "user_key"}"'

    def url(self, folder):
        base = str(self.served) if self.kind.absolute else ""
        return f"{self.kind.scheme}://{self.login()[0]}@127.0.0.1:{self.port}{base}/{folder}"


class Unstarted(Exception):
    """A server that is not installed, or does not start."""


def run(*words, **more):
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, encoding="latin-1", env={**os.environ, **libraries()}, **more)
    if done.returncode:
        raise Unstarted(f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def libraries():
    """Where the unpacked daemons find their libraries."""
    found = [str(path) for home in (DEBIAN, OTHERS) for folder in ("usr/lib", "lib") for path in (home / folder).glob("*-linux-gnu*")]
    return {"LD_LIBRARY_PATH": ":".join(found)}


def program(path):
    """A program of Debian's packages."""
    for home in (DEBIAN, OTHERS):
        if (home / path).exists():
            return str(home / path)
    raise Unstarted(f"{path} is not installed")


def inetd(place, *words):
    """A daemon that serves one connection, by its standard input and output."""
    return [sys.executable, str(HERE / "inetd.py"), str(place.port), *map(str, words)]


def crypt(password):
    return run("openssl", "passwd", "-6", password).strip()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ensure_account():
    """Makes the account of the integration tests, as they do."""
    if not ROOT:
        return
    ACCOUNT_HOME.mkdir(parents=True, exist_ok=True)
    with open(ACCOUNT_HOME / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ensure_system_user(ACCOUNT, ACCOUNT_HOME, "/bin/sh")
        file = ACCOUNT_HOME / "password"
        if not file.exists() or not file.read_text():
            password = f"p s:w@r/d%41#?{secrets.token_hex(16)}"
            file.touch(0o600)
            run("chpasswd", input=f"{ACCOUNT}:{password}\n")
            file.write_text(password)


def ensure_system_user(name, home, shell):
    try:
        pwd.getpwnam(name)
    except KeyError:
        run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", shell, name)


def hand_over(place):
    """Gives the served folder to the account, and lets it come there."""
    place.work.chmod(0o755)
    if ROOT:
        uid, gid = place.account()
        # The folder itself stays root's: sshd locks sessions into no other.
        for file in place.served.rglob("*"):
            shutil.chown(file, uid, gid)
