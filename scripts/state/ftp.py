"""A small FTP server for scripts/state/make.py: two dialects, reads that stall, a file that grows, a refused login."""

import os
import socket
import threading
import time

VERBS = b"USER PASS FEAT TYPE OPTS NOOP QUIT CWD EPSV REST MLST SIZE MDTM MLSD LIST RETR".split()
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class Server:
    """Serves `root` on a free port of 127.0.0.1 to `user` with `password`. `machine`: whether it knows MLSD."""

    def __init__(self, root, machine, user=b"user", password=b"password", port=0):
        self.root, self.machine, self.user, self.password = os.fsencode(root), machine, user, password
        self.grows = set()  # last segments of paths
        self.stalls = []  # the same: what is read last of them stalls
        self.stalled = threading.Event()
        self.reads = []
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return  # It is over.
            threading.Thread(target=Session(self, connection).serve, daemon=True).start()


class Session:
    """A control connection."""

    def __init__(self, server, connection):
        self.server, self.connection = server, connection
        self.here, self.door, self.start = b"/", None, 0

    def say(self, *lines):
        self.connection.sendall(b"".join(line + b"\r\n" for line in lines))

    def serve(self):
        try:
            self.say(b"220 ready")
            for line in self.connection.makefile("rb"):
                verb, _, argument = line.rstrip(b"\r\n").partition(b" ")
                if verb in VERBS:
                    getattr(self, verb.decode().lower())(argument)
                else:
                    self.say(b"502 not known")
        except OSError:
            pass  # The client was killed, which is what it is here for.

    def path(self, argument):
        name = argument if argument.startswith(b"/") else self.here.rstrip(b"/") + b"/" + argument
        return name, self.server.root + name

    def user(self, argument):
        self.name = argument
        self.say(b"331 password?")

    def pass_(self, argument):
        good = (self.name, argument) == (self.server.user, self.server.password)
        self.say(b"230 welcome" if good else b"530 Login incorrect.")

    def feat(self, _):
        facts = [b" MLST type*;size*;modify*;"] if self.server.machine else []
        self.say(b"211-Features:", *facts, b" MDTM", b" SIZE", b" REST STREAM", b" UTF8", b"211 End")

    def type(self, _):
        self.say(b"200 binary")

    def opts(self, _):
        self.say(b"200 yes")

    def noop(self, _):
        self.say(b"200 here")

    def quit(self, _):
        self.say(b"221 bye")
        self.connection.shutdown(socket.SHUT_RDWR)

    def cwd(self, argument):
        name, path = self.path(argument)
        if os.path.isdir(path):
            self.here = name
            self.say(b"250 there")
        else:
            self.say(b"550 No such file or directory.")

    def epsv(self, _):
        self.door = socket.create_server(("127.0.0.1", 0))
        self.say(b"229 Extended (|||%d|)" % self.door.getsockname()[1])

    def rest(self, argument):
        self.start = int(argument)
        self.say(b"350 from there")

    def grow(self, path):
        if os.path.basename(path) in self.server.grows:
            at = os.stat(path).st_mtime
            with open(path, "ab") as file:
                file.write(b"one more row\n")
            os.utime(path, (at, at))

    def mlst(self, argument):
        name, path = self.path(argument)
        if not self.server.machine:
            return self.say(b"502 not known")
        if not os.path.lexists(path):
            return self.say(b"550 No such file or directory.")
        self.grow(path)
        self.say(b"250-Listing", b" " + facts(path) + name, b"250 End")

    def size(self, argument):
        _, path = self.path(argument)
        self.say(b"213 %d" % os.path.getsize(path) if os.path.isfile(path) else b"550 No such file or directory.")

    def mdtm(self, argument):
        _, path = self.path(argument)
        self.say(b"213 " + stamp(path) if os.path.isfile(path) else b"550 No such file or directory.")

    def send(self, data, stall=False):
        stream, _ = self.door.accept()
        self.door.close()
        self.say(b"150 here it comes")
        if stall:
            stream.sendall(data[: len(data) // 2])
            self.server.stalled.set()
            while True:  # Until the client is killed, and with this program at the latest.
                time.sleep(60)
        stream.sendall(data)
        stream.close()
        self.say(b"226 done")

    def mlsd(self, argument):
        if not self.server.machine:
            return self.say(b"502 not known")
        _, path = self.path(argument or self.here)
        self.send(b"".join(facts(path + b"/" + name) + name + b"\r\n" for name in sorted(os.listdir(path))))

    def list(self, argument):
        _, path = self.path(self.here)
        dots = [b".", b".."] if argument == b"-a" else []
        self.send(b"".join(line(path, name) for name in dots + sorted(os.listdir(path))))

    def retr(self, argument):
        name, path = self.path(argument)
        if not os.path.isfile(path):
            return self.say(b"550 No such file or directory.")
        with open(path, "rb") as file:
            data = file.read()[self.start:]
        self.start = 0
        self.server.reads.append(name)
        stalls = os.path.basename(path) in self.server.stalls
        if stalls:
            self.server.stalls.remove(os.path.basename(path))
        self.send(data, stalls and not self.server.stalls)


setattr(Session, "pass", Session.pass_)  # `pass` is a word of Python.


def stamp(path):
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(os.stat(path).st_mtime)).encode()


def facts(path):
    if os.path.isdir(path):
        return b"type=dir;modify=%s; " % stamp(path)
    return b"type=file;size=%d;modify=%s; " % (os.path.getsize(path), stamp(path))


def line(folder, name):
    """As `ls -l` shows what is older than half a year: with the day alone."""
    status = os.stat(folder + b"/" + name)
    mode = b"drwxr-xr-x" if os.path.isdir(folder + b"/" + name) else b"-rw-r--r--"
    at = time.gmtime(status.st_mtime)
    date = b"%s %2d  %04d" % (MONTHS[at.tm_mon - 1].encode(), at.tm_mday, at.tm_year)
    return b"%s   1 ftp      ftp      %12d %s %s\r\n" % (mode, status.st_size, date, name)
