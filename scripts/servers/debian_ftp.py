"""FTP servers of Debian's packages, unpacked without installing them."""

import getpass

from place import ACCOUNT, DEBIAN, NEW_YORK, NOT_ASCII, ROOT, Kind, crypt, inetd, program, run


def vsftpd(*lines):
    def start(place):
        (place.work / "empty").mkdir()
        text = [
            "listen=YES", "background=NO", "listen_address=127.0.0.1", f"listen_port={place.port}",
            "anonymous_enable=NO", "local_enable=YES", "pam_service_name=other", "write_enable=YES",
            f"local_root={place.served}", "chroot_local_user=YES", "allow_writeable_chroot=YES",
            f"secure_chroot_dir={place.work}/empty", "seccomp_sandbox=NO", "isolate=NO", "isolate_network=NO",
            f"vsftpd_log_file={place.work}/log", *lines,
        ]
        if place.kind.scheme != "ftp":
            text += [f"rsa_cert_file={place.certificate()}", "ssl_enable=YES", "ssl_ciphers=HIGH", "require_ssl_reuse=YES"]
        if place.kind.scheme == "ftps":
            text += ["implicit_ssl=YES"]
        return [program("usr/sbin/vsftpd"), place.write("vsftpd.conf", "\n".join(text) + "\n")]

    return start


def proftpd(*lines):
    def start(place):
        uid, gid = place.account()
        users = place.write("users", f"u:{crypt('p')}:{uid}:{gid}::{place.served}:/bin/sh\n")
        user = ACCOUNT if ROOT else getpass.getuser()
        text = [
            f"ModulePath {DEBIAN}/usr/lib/proftpd", "LoadModule mod_tls.c", "LoadModule mod_sftp.c",
            "ServerType standalone", "DefaultAddress 127.0.0.1", "SocketBindTight on", "UseIPv6 off",
            f"Port {place.port}", f"User {user}", f"Group {user}", f"PidFile {place.work}/pid",
            f"ScoreboardFile {place.work}/scoreboard", f"DelayTable {place.work}/delay", "DelayEngine off",
            f"SystemLog {place.work}/log", "WtmpLog off", "TransferLog none", "UseReverseDNS off",
            "RequireValidShell off", "AuthOrder mod_auth_file.c", f"AuthUserFile {users}", "MaxInstances 100",
        ]
        if ROOT:
            text.append("DefaultRoot ~")
        if place.kind.scheme == "sftp":
            # A key in the old format, which older releases need.
            text += ["SFTPEngine on", f"SFTPHostKey {place.key('host_key', 'ecdsa', '-m', 'PEM')}", "SFTPAuthMethods password"]
        elif place.kind.scheme != "ftp":
            # Debian 12's crashes on its second data connection of TLS 1.3.
            text += ["TLSEngine on", "TLSRequired on", "TLSProtocol TLSv1.2", "TLSVerifyClient off",
                     f"TLSRSACertificateFile {place.certificate()}", f"TLSRSACertificateKeyFile {place.work}/cert.pem"]
        if place.kind.scheme == "ftps":
            text.append("TLSOptions UseImplicitSSL")
        text += lines
        return [program("usr/sbin/proftpd"), "-n", "-c", place.write("proftpd.conf", "\n".join(text) + "\n")]

    return start


def pure_ftpd(*options):
    def start(place):
        uid, gid = place.account()
        users = place.write("users", f"u:{crypt('p')}:{uid}:{gid}::{place.served}/./::::::::::::\n")
        run(program("usr/bin/pure-pw"), "mkdb", f"{place.work}/users.pdb", "-f", users)
        words = [
            program("usr/sbin/pure-ftpd"), "--bind", f"127.0.0.1,{place.port}", "--login", f"puredb:{place.work}/users.pdb",
            "--pidfile", f"{place.work}/pid", "--noanonymous", "--chrooteveryone", "--dontresolve",
            "--maxclientsnumber=100", "--syslogfacility=none", *options,
        ]
        return words + (["--tls=3", f"--certfile={place.certificate()}"] if place.kind.scheme == "ftpes" else [])

    return start


def inetutils_ftpd(place):
    return inetd(place, program("usr/sbin/ftpd"))


def gridftp(place):
    server = program("usr/sbin/globus-gridftp-server")
    return [server, "-exec", server, "-p", str(place.port), "-control-interface", "127.0.0.1", "-data-interface",
            "127.0.0.1", "-allow-anonymous", "-anonymous-user", ACCOUNT, "-anonymous-names-allowed", "*"]


SERVERS = {
    "vsftpd": Kind("ftp", vsftpd(), login="system"),
    "vsftpd, implicit TLS": Kind("ftps", vsftpd(), login="system"),
    "vsftpd, TLS": Kind("ftpes", vsftpd(), login="system"),
    "vsftpd, TLS, asks no certificate": Kind("ftpes", vsftpd("ssl_request_cert=NO"), login="system"),
    "vsftpd, local times": Kind("ftp", vsftpd("use_localtime=YES"), login="system", zone=NEW_YORK),
    "vsftpd, owners by name": Kind("ftp", vsftpd("text_userdb_names=YES", "force_dot_files=YES"), login="system"),
    "vsftpd, one connection": Kind("ftp", vsftpd("max_per_ip=1"), login="system"),
    "vsftpd, no chroot": Kind("ftp", vsftpd("chroot_local_user=NO"), login="system", absolute=True),
    "vsftpd, wrong passive address": Kind("ftp", vsftpd("pasv_address=192.0.2.1"), login="system"),
    "proftpd": Kind("ftp", proftpd(), absolute=not ROOT),
    "proftpd, implicit TLS": Kind("ftps", proftpd(), absolute=not ROOT),
    "proftpd, TLS": Kind("ftpes", proftpd(), absolute=not ROOT),
    "proftpd, local times": Kind("ftp", proftpd("TimesGMT off"), absolute=not ROOT, zone=NEW_YORK),
    "proftpd, no globbing": Kind("ftp", proftpd("UseGlobbing off"), absolute=not ROOT),
    "proftpd, no facts": Kind("ftp", proftpd("FactsAdvertise off"), absolute=not ROOT),
    "proftpd, no facts, local times": Kind("ftp", proftpd("FactsAdvertise off", "TimesGMT off"), absolute=not ROOT, zone=NEW_YORK),
    "proftpd, faked owners and modes": Kind("ftp", proftpd("DirFakeUser on ~", "DirFakeGroup on ~", "DirFakeMode 0440"), absolute=not ROOT),
    "proftpd, RFC 2228 replies": Kind("ftp", proftpd("MultilineRFC2228 on"), absolute=not ROOT),
    "proftpd, no UTF-8": Kind("ftp", proftpd("UseEncoding off"), absolute=not ROOT),
    "proftpd, two connections": Kind("ftp", proftpd("MaxClientsPerHost 2"), absolute=not ROOT),
    "proftpd, wrong passive address": Kind("ftp", proftpd("MasqueradeAddress 192.0.2.1"), absolute=not ROOT),
    "proftpd, no restarts": Kind("ftp", proftpd("AllowRetrieveRestart off"), absolute=not ROOT),
    "proftpd mod_sftp": Kind("sftp", proftpd(), absolute=not ROOT),
    "proftpd mod_sftp, one channel": Kind("sftp", proftpd("SFTPMaxChannels 1"), absolute=not ROOT),
    "proftpd mod_sftp, small packets": Kind("sftp", proftpd("SFTPClientMatch .* channelWindowSize 16KB channelPacketSize 2KB"), absolute=not ROOT),
    "proftpd mod_sftp, keys anew each MB": Kind("sftp", proftpd("SFTPRekey required 3600 1"), absolute=not ROOT),
    "pure-ftpd, shows 50 entries": Kind("ftp", pure_ftpd("--limitrecursion=50:5"), root=True, says="Output truncated to 50 matches"),
    "vsftpd, active mode alone": Kind("ftp", vsftpd("pasv_enable=NO"), login="system", says="passive mode"),
    "pure-ftpd": Kind("ftp", pure_ftpd(), root=True),
    "pure-ftpd, TLS": Kind("ftpes", pure_ftpd(), root=True),
    "pure-ftpd, broken clients": Kind("ftp", pure_ftpd("--brokenclientscompatibility"), root=True),
    "pure-ftpd, one connection": Kind("ftp", pure_ftpd("--maxclientsperip=1"), root=True),
    "inetutils ftpd": Kind("ftp", inetutils_ftpd, login="system", absolute=True),
    "inetutils ftpd, local times": Kind("ftp", inetutils_ftpd, login="system", absolute=True, zone=NEW_YORK),
    "globus gridftp": Kind("ftp", gridftp, login="anonymous", absolute=True, root=True, loses=(NOT_ASCII,)),
}
