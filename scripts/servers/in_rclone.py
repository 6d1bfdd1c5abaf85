"""rclone's servers, of the release that the tests use and of Debian's."""

from place import TOOLS, Kind, program


def rclone(*options, old=False):
    def start(place):
        words = [program("usr/bin/rclone") if old else TOOLS / "python/bin/rclone", "serve", place.kind.scheme, place.served, "--addr", f"127.0.0.1:{place.port}", "--user", "u", "--pass", "p"]
        if place.kind.scheme == "sftp":
            words += ["--key", place.key("host_key", "ed25519")]
        words += ["--config", place.write("rclone.conf", ""), "--cache-dir", place.work / "cache", "--dir-cache-time", "0", *options]
        return list(map(str, words)), {}

    return start


SERVERS = {
    "rclone serve ftp": Kind("ftp", rclone()),
    "rclone serve ftp, VFS cache": Kind("ftp", rclone("--vfs-cache-mode", "full")),
    "rclone serve sftp": Kind("sftp", rclone()),
    "rclone serve sftp, VFS cache": Kind("sftp", rclone("--vfs-cache-mode", "full")),
    "rclone serve sftp 1.60": Kind("sftp", rclone(old=True)),
}
