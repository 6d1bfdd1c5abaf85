"""SFTP servers of Debian's packages: SSH daemons, and programs that serve files behind one."""

import pathlib
import shutil

from place import ACCOUNT, ACCOUNT_HOME, NOT_ASCII, OTHERS, Kind, ensure_system_user, inetd, libraries, program, run

SFTP_SERVER = "usr/lib/openssh/sftp-server"


def keys(place):
    """The account's key, for logins; its public half in a file."""
    place.key("user_key", "ed25519")
    return place.work / "user_key.pub"


def sshd(subsystem, *lines):
    """OpenSSH; `subsystem` is what serves files, `internal-sftp` or a command made of the place."""

    def start(place):
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
        ensure_system_user("sshd", "/run/sshd", "/usr/sbin/nologin")
        command = subsystem(place) if callable(subsystem) else subsystem
        text = [
            "ListenAddress 127.0.0.1", f"Port {place.port}", f"HostKey {place.key('host_key', 'ed25519')}", "PidFile none",
            "AuthorizedKeysFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication yes", "UseDNS no",
            f"Subsystem sftp {command}", *lines,
        ]
        return [program("usr/sbin/sshd"), "-D", "-e", "-f", place.write("sshd_config", "\n".join(text) + "\n")]

    return start


def behind(*words):
    """A program of a package as subsystem; sshd starts it without the environment."""

    def command(_):
        environment = " ".join(f"{name}={value}" for name, value in libraries().items())
        return f"/usr/bin/env {environment} {program(words[0])} {' '.join(words[1:])}".rstrip()

    return command


def perl_server(place):
    """Perl's, locked into the served folder, which has to be the account's own. Its log goes nowhere: it dies without one."""
    shutil.chown(place.served, ACCOUNT)
    script = place.write("server.pl", """
        BEGIN { use Sys::Syslog; no warnings; *Sys::Syslog::openlog = *Sys::Syslog::syslog = sub { 1 }; }
        use Net::SFTP::SftpServer qw(:ACTIONS);
        Net::SFTP::SftpServer->new(home => "%s", allow => ALL)->run();
        """ % place.served, 0o644)
    return f"/usr/bin/env HOME={place.work} /usr/bin/perl -I{OTHERS}/usr/share/perl5 {script}"


def mounted(folder, at, words):
    """A command that sees `folder` as `at`; nobody else does."""
    return ["unshare", "--mount", "sh", "-c", f'mount --bind {folder} {at} && exec "$0" "$@"', *words]


def jailed(place):
    """Sessions are locked into the served folder: sshd locks into none below /tmp, so it sees it elsewhere."""
    return mounted(place.served, "/mnt", sshd("internal-sftp", "ChrootDirectory /mnt")(place))


def my_secure_shell(*lines):
    """MySecureShell behind OpenSSH, both with a folder of their own as /etc/ssh, where its configuration stands."""

    def start(place):
        folder = place.work / "etc"
        folder.mkdir()
        text = ["<Default>", "StayAtHome false", "VirtualChroot false", *lines, "</Default>"]
        place.write("etc/sftp_config", "\n".join(text) + "\n", 0o644)
        pathlib.Path("/etc/ssh").mkdir(exist_ok=True)
        return mounted(folder, "/etc/ssh", sshd(behind("usr/bin/mysecureshell", "-c", "sftp-server"))(place))

    return start


def dropbear(place):
    words = [program("usr/sbin/dropbear"), "-F", "-E", "-p", f"127.0.0.1:{place.port}", "-P", f"{place.work}/pid"]
    run(program("usr/bin/dropbearkey"), "-t", "ed25519", "-f", place.work / "host_key")
    return words + ["-r", f"{place.work}/host_key", "-c", program(SFTP_SERVER)]


def tinysshd(place):
    """Logins by key alone, from the account's home."""
    home = ACCOUNT_HOME / ".ssh"
    home.mkdir(exist_ok=True)
    shutil.copy(keys(place), home / "authorized_keys")
    run(program("usr/sbin/tinysshd-makekey"), place.work / "tiny")
    return inetd(place, program("usr/sbin/tinysshd"), "-x", f"sftp={program(SFTP_SERVER)}", place.work / "tiny")


def by_erlang(place):
    """Erlang's ssh."""
    home = OTHERS / "usr/lib/erlang"
    runtime = next(home.glob("erts-*")) / "bin"
    place.key("ssh_host_rsa_key", "rsa", "-m", "PEM")
    start = (
        f"{{ok, _}} = application:ensure_all_started(ssh), {{ok, _}} = ssh:daemon({{127,0,0,1}}, {place.port}, "
        f'[{{system_dir, "{place.work}"}}, {{user_passwords, [{{"u", "p"}}]}}, '
        f'{{subsystems, [ssh_sftpd:subsystem_spec([{{root, "{place.served}"}}, {{cwd, "/"}}])]}}]).'
    )
    boot = next(home.glob("releases/*/start_clean.boot")).with_suffix("")
    libraries = [str(found) for found in home.glob("lib/*/ebin")]
    words = [str(runtime / "erlexec"), "-pa", *libraries, "-noinput", "-boot", str(boot), "-eval", start]
    return words, {"ROOTDIR": str(home), "BINDIR": str(runtime), "EMU": "beam", "PROGNAME": "erl", "HOME": str(place.work)}


def openssh(subsystem, *lines):
    return Kind("sftp", sshd(subsystem, *lines), login="system", absolute=True)


SERVERS = {
    "OpenSSH": openssh("internal-sftp"),
    "OpenSSH, sftp-server": openssh(behind(SFTP_SERVER)),
    "OpenSSH, sftp-server without STAT": openssh(behind(SFTP_SERVER, "-P", "stat,lstat,fstat")),
    "OpenSSH, read only": openssh(behind(SFTP_SERVER, "-R")),
    "OpenSSH, chroot": Kind("sftp", jailed, login="system"),
    "OpenSSH, one session": openssh("internal-sftp", "MaxSessions 1"),
    "OpenSSH, keys anew each MiB": openssh("internal-sftp", "RekeyLimit 1M"),
    "OpenSSH, old algorithms": openssh("internal-sftp", "KexAlgorithms diffie-hellman-group14-sha256", "Ciphers aes128-ctr", "MACs hmac-sha2-256"),
    "dropbear": Kind("sftp", dropbear, login="system", absolute=True),
    "tinysshd": Kind("sftp", tinysshd, login="key", absolute=True),
    "gesftpserver": openssh(behind("usr/libexec/gesftpserver")),
    "MySecureShell": Kind("sftp", my_secure_shell(), login="system", absolute=True),
    "MySecureShell, one connection": Kind("sftp", my_secure_shell("LimitConnectionByUser 1"), login="system", absolute=True),
    "MySecureShell, hides what may not be read": Kind("sftp", my_secure_shell("HideNoAccess true"), login="system", absolute=True),
    "lsh's sftp-server": openssh(behind("usr/lib/lsh-server/sftp-server")),
    "Net::SFTP::SftpServer": Kind("sftp", sshd(perl_server), login="system"),
    "erlang ssh": Kind("sftp", by_erlang, lacks=(NOT_ASCII,)),
}
