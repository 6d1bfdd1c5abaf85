"""The servers of a benchmark, each on ports of its own on 127.0.0.1, gone when the benchmark is."""

import getpass
import glob
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time

PASSWORD = "password"
FAR = "127.0.0.2"  # where the distance begins: all of 127/8 is this machine
FAR_STORE = "127.0.0.3"  # the store as it is seen from far away


class Servers:
    """sshd, vsftpd (near and far), the blob sink, the delay proxy. `folder` holds their files, `data` is what they serve."""

    def __init__(self, tools, programs, folder, data):
        self.tools, self.programs, self.folder, self.data = tools, programs, folder, data
        self.user = getpass.getuser()
        self.processes, self.proxies = [], {}
        base = random.randrange(20000, 26000, 200)
        self.ssh, self.ftp, self.ftp_far, self.sink = base, base + 1, base + 2, base + 3
        self.passive, self.passive_far = (base + 10, base + 89), (base + 100, base + 179)
        os.makedirs(folder, exist_ok=True)
        self._keys()

    def start(self):
        self._sshd()
        self._vsftpd("vsftpd", self.ftp, self.passive, "127.0.0.1")
        self._vsftpd("vsftpd-far", self.ftp_far, self.passive_far, FAR)
        self._spawn("sink", [self.programs["bench_sink"], f"127.0.0.1:{self.sink}"])
        for port in (self.ssh, self.ftp, self.ftp_far, self.sink):
            _wait_for(port)

    def restart_sink(self):
        """Drops all that was stored."""
        for process, name in self.processes:
            if name == "sink":
                _end(process)
        self.processes = [(process, name) for process, name in self.processes if name != "sink"]
        self._spawn("sink", [self.programs["bench_sink"], f"127.0.0.1:{self.sink}"])
        _wait_for(self.sink)

    def distance(self, milliseconds, of_the_store):
        """Sets the round-trip times of 127.0.0.2, where the servers of files are, and of 127.0.0.3, where the store is."""
        ports = ",".join([f"{self.ssh}", f"{self.ftp_far}", "-".join(map(str, self.passive_far))])
        self._far(FAR, milliseconds, ports, self.ssh)
        self._far(FAR_STORE, of_the_store, str(self.sink), self.sink)

    def _far(self, address, milliseconds, ports, port):
        proxy, had = self.proxies.get(address, (None, 0))
        if proxy and had != milliseconds:
            _end(proxy)
            proxy = None
        if milliseconds and not proxy:
            proxy = self._spawn("proxy", [self.programs["delay_proxy"], address, "127.0.0.1", str(milliseconds), ports])
            _wait_for(port, address)
        self.proxies[address] = (proxy, milliseconds)

    def stop(self):
        for process, _ in self.processes:
            _end(process)
        for proxy, _ in self.proxies.values():
            if proxy:
                _end(proxy)

    def inside(self, *parts):
        return os.path.join(self.folder, *parts)

    def installed(self, path):
        """A program of the test tools, or the system's."""
        ours = os.path.join(self.tools, "debian", path)
        return ours if os.path.exists(ours) else shutil.which(os.path.basename(path))

    def environment(self):
        libraries = [path for root in ("debian", "bench") for path in glob.glob(os.path.join(self.tools, root, "usr/lib/*-linux-gnu*"))
                     + glob.glob(os.path.join(self.tools, root, "lib/*-linux-gnu*"))]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}

    def _spawn(self, name, command):
        log = open(self.inside(name + ".log"), "ab")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=self.environment())
        log.close()
        if name != "proxy":
            self.processes.append((process, name))
        return process

    def _keys(self):
        keygen = self.installed("usr/bin/ssh-keygen")
        for name in ("host_key", "user_key"):
            if not os.path.exists(self.inside(name)):
                self._run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", self.inside(name)])
        shown = self._run([keygen, "-l", "-f", self.inside("host_key.pub")])
        self.host_key = shown.split()[1]
        if not os.path.exists(self.inside("cert.pem")):
            self._run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext",
                       "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:" + FAR, "-keyout", self.inside("cert.key"), "-out", self.inside("cert.pem")])
        printed = self._run(["openssl", "x509", "-in", self.inside("cert.pem"), "-noout", "-fingerprint", "-sha256"])
        self.certificate = "SHA256:" + printed.split("=")[1].strip().replace(":", "").lower()

    def _run(self, command):
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self.environment()).stdout

    def _sshd(self):
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
            if subprocess.run(["getent", "passwd", "sshd"], capture_output=True, check=False).returncode:
                self._run(["useradd", "--system", "--home-dir", "/run/sshd", "--shell", "/usr/sbin/nologin", "sshd"])
        # Default throttling of logins would be noise. Keys, since passwords would measure the server's hashing of them.
        lines = [f"ListenAddress 127.0.0.1:{self.ssh}", f"HostKey {self.inside('host_key')}", "PidFile none",
                 f"AuthorizedKeysFile {self.inside('user_key.pub')}", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
                 "PermitRootLogin prohibit-password", f"AllowUsers {self.user}", "MaxStartups 200", "MaxSessions 200", "UseDNS no",
                 "Subsystem sftp internal-sftp", f"ForceCommand internal-sftp -d {self.data}", "LogLevel ERROR"]
        for keyword, program in (("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")):
            path = os.path.join(self.tools, "debian/usr/lib/openssh", program)
            lines += [f"{keyword} {path}"] if os.path.exists(path) else []
        self._write("sshd_config", lines)
        self._spawn("sshd", [self.installed("usr/sbin/sshd"), "-D", "-e", "-f", self.inside("sshd_config")])

    def _vsftpd(self, name, port, passive, address):
        """Plain FTP and explicit TLS on one port. Its user is `anonymous`, here with a password: no account is needed."""
        self._write("passwords", [PASSWORD])
        os.makedirs(self.inside("empty"), exist_ok=True)
        root = os.geteuid() == 0
        # Data connections may come from the proxy's side of the distance.
        lines = ["listen=YES", "background=NO", "listen_address=127.0.0.1", f"listen_port={port}", "anonymous_enable=YES", "local_enable=NO",
                 "secure_email_list_enable=YES", f"email_password_file={self.inside('passwords')}", f"anon_root={self.data}",
                 "anon_world_readable_only=NO", f"secure_chroot_dir={self.inside('empty')}", "seccomp_sandbox=NO", "isolate=NO",
                 "isolate_network=NO", "max_per_ip=0", "max_clients=0", f"pasv_address={address}", "pasv_promiscuous=YES",
                 f"pasv_min_port={passive[0]}", f"pasv_max_port={passive[1]}", f"ftp_username={_guest() if root else self.user}",
                 "ssl_enable=YES", "allow_anon_ssl=YES", "force_anon_logins_ssl=NO", "force_anon_data_ssl=NO", "require_ssl_reuse=NO",
                 f"rsa_cert_file={self.inside('cert.pem')}", f"rsa_private_key_file={self.inside('cert.key')}", "ssl_ciphers=HIGH"]
        lines += [] if root else ["run_as_launching_user=YES"]
        self._write(name + ".conf", lines)
        self._spawn(name, [self.installed("usr/sbin/vsftpd"), self.inside(name + ".conf")])

    def _write(self, name, lines):
        with open(os.open(self.inside(name), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")


def _guest():
    """A user without rights of its own. vsftpd goes to its home before anything else, and `nobody` often has none."""
    return next(user.pw_name for user in pwd.getpwall() if user.pw_uid and os.path.isdir(user.pw_dir))


def _wait_for(port, host="127.0.0.1"):
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((host, port), 1).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise RuntimeError(f"nothing listens on {host}:{port}") from error
            time.sleep(0.05)


def _end(process):
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(5)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
