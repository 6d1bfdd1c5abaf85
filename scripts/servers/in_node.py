"""Servers of npm packages, each a Node program; @ROOT@, @PORT@ and @WORK@ are filled in."""

import os

from place import BLANKS, QUOTED, Kind

FTP_SRV = """
const FtpSrv = require("ftp-srv");
const server = new FtpSrv({ url: "ftp://127.0.0.1:@PORT@", pasv_url: "127.0.0.1", pasv_min: @PORT@ + 1 });
server.on("login", (login, resolve, reject) =>
    login.username === "u" && login.password === "p" ? resolve({ root: "@ROOT@" }) : reject(new Error("no")));
server.listen();
"""

SSH2 = """
const fs = require("fs"), path = require("path");
const ssh2 = require("ssh2");
const { STATUS_CODE, flagsToString } = ssh2.utils.sftp;
const here = (name) => path.join("@ROOT@", path.posix.normalize("/" + name));
const told = (stat) => ({ mode: stat.mode, uid: stat.uid, gid: stat.gid, size: stat.size,
    atime: Math.floor(stat.atimeMs / 1000), mtime: Math.floor(stat.mtimeMs / 1000) });
const serve = (sftp) => {
    const open = new Map(); let next = 0;
    const handle = (value) => { const id = Buffer.alloc(4); id.writeUInt32BE(next); open.set(next++, value); return id; };
    const of = (id) => open.get(id.readUInt32BE(0));
    const failed = (id, error) => sftp.status(id, error.code === "ENOENT" ? STATUS_CODE.NO_SUCH_FILE : STATUS_CODE.FAILURE);
    const described = (how) => (id, name) => {
        try { sftp.attrs(id, told(how(here(name)))); } catch (error) { failed(id, error); }
    };
    sftp.on("REALPATH", (id, name) => sftp.name(id, [{ filename: path.posix.normalize("/" + name), longname: "", attrs: {} }]));
    sftp.on("STAT", described(fs.statSync)).on("LSTAT", described(fs.lstatSync));
    sftp.on("FSTAT", (id, file) => sftp.attrs(id, told(fs.fstatSync(of(file)))));
    sftp.on("OPENDIR", (id, name) => {
        try { sftp.handle(id, handle({ folder: here(name), left: fs.readdirSync(here(name)) })); } catch (error) { failed(id, error); }
    });
    sftp.on("READDIR", (id, folder) => {
        const one = of(folder), some = one.left.splice(0, 50);
        if (!some.length) return sftp.status(id, STATUS_CODE.EOF);
        sftp.name(id, some.map((filename) => ({ filename, longname: filename, attrs: told(fs.lstatSync(path.join(one.folder, filename))) })));
    });
    sftp.on("OPEN", (id, name, flags) => {
        try { sftp.handle(id, handle(fs.openSync(here(name), flagsToString(flags)))); } catch (error) { failed(id, error); }
    });
    sftp.on("READ", (id, file, offset, length) => {
        const bytes = Buffer.alloc(Math.min(length, 32768)), read = fs.readSync(of(file), bytes, 0, bytes.length, offset);
        read ? sftp.data(id, bytes.subarray(0, read)) : sftp.status(id, STATUS_CODE.EOF);
    });
    sftp.on("CLOSE", (id, one) => { const value = of(one); if (typeof value === "number") fs.closeSync(value);
        open.delete(one.readUInt32BE(0)); sftp.status(id, STATUS_CODE.OK); });
};
const keys = ssh2.utils.generateKeyPairSync("ed25519");
new ssh2.Server({ hostKeys: [keys.private] }, (client) => {
    client.on("authentication", (login) => login.method === "password" && login.username === "u" && login.password === "p"
        ? login.accept() : login.reject(["password"]));
    client.on("error", () => {});
    client.on("ready", () => client.on("session", (accept) => accept().on("sftp", (accept) => serve(accept()))));
}).listen(@PORT@, "127.0.0.1");
"""

FTPD = """
const ftpd = require("ftpd");
const server = new ftpd.FtpServer("127.0.0.1", { getInitialCwd: () => "/", getRoot: () => "@ROOT@", useReadFile: false });
server.on("error", () => {});
server.on("client:connected", (connection) => {
    let name;
    connection.on("command:user", (user, success, failure) => user === "u" ? (name = user, success()) : failure());
    connection.on("command:pass", (pass, success, failure) => pass === "p" ? success(name) : failure());
});
server.debugging = 0;
server.listen(@PORT@);
"""

SIMPLE_FTPD = """
const fs = require("fs");
require("simple-ftpd")({ host: "127.0.0.1", port: @PORT@, root: "@ROOT@", readOnly: true, maxConnections: 100 }, (session) => {
    session.on("pass", (user, password, done) => done(user === "u" && password === "p" ? null : new Error("no"), "welcome"));
    session.on("stat", fs.stat);
    session.on("readdir", fs.readdir);
    session.on("read", (path, offset, done) => done(null, fs.createReadStream(path, { start: offset })));
});
"""

NODE_SFTP_SERVER = """
const fs = require("fs"), path = require("path");
const SFTPServer = require("node-sftp-server");
const here = (name) => path.join("@ROOT@", path.posix.normalize("/" + name));
const server = new SFTPServer({ privateKeyFile: "@WORK@/host_key" });
server.listen(@PORT@);
server.on("error", () => {});
server.on("connect", (login) => login.method === "password" && login.username === "u" && login.password === "p" ? login.accept((session) => {
    session.on("realpath", (name, done) => done(path.posix.normalize("/" + name)));
    session.on("stat", (name, kind, answer) => fs.stat(here(name), (error, found) => {
        if (error) return answer.nofile();
        found.isDirectory() ? answer.is_directory() : answer.is_file();
        Object.assign(answer, { permissions: found.mode & 0o777, uid: found.uid, gid: found.gid, size: found.size,
            atime: Math.floor(found.atimeMs / 1000), mtime: Math.floor(found.mtimeMs / 1000) });
        answer.file();
    }));
    session.on("readdir", (name, answer) => {
        const left = fs.readdirSync(here(name));
        answer.on("dir", () => {
            const one = left.shift();
            if (!one) return answer.end();
            const found = fs.statSync(path.join(here(name), one));
            answer.file(one, { mode: found.mode, permissions: found.mode & 0o777, uid: found.uid, gid: found.gid, size: found.size,
                atime: Math.floor(found.atimeMs / 1000), mtime: Math.floor(found.mtimeMs / 1000) });
        });
    });
    session.on("readfile", (name, stream) => fs.createReadStream(here(name)).pipe(stream));
}) : login.reject(["password"], false));
"""


def node(text):
    def start(place):
        if "host_key" in text:
            place.key("host_key", "rsa", "-m", "PEM")
        filled = text.strip()
        for mark, value in {"@ROOT@": place.served, "@PORT@": place.port, "@WORK@": place.work}.items():
            filled = filled.replace(mark, str(value))
        return [os.environ.get("NODE", "node"), "-e", filled], {"NODE_PATH": os.environ.get("MODULES", "")}

    return start


SERVERS = {
    "ftp-srv": Kind("ftp", node(FTP_SRV), loses=(QUOTED,)),
    "ftpd": Kind("ftp", node(FTPD)),
    "simple-ftpd": Kind("ftp", node(SIMPLE_FTPD), loses=(BLANKS,)),
    "ssh2": Kind("sftp", node(SSH2)),
    "node-sftp-server": Kind("sftp", node(NODE_SFTP_SERVER), settings="legacy_algorithms = true\n"),
}
