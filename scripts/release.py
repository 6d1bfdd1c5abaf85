"""Packs the artefacts of one target: see release.sh, which calls this with its findings in the environment."""

import gzip
import io
import os
import subprocess
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

NAME = os.environ["TARGET_NAME"]
VERSION = os.environ["VERSION"]
ARCHITECTURE = os.environ["ARCHITECTURE"]
BINARY = Path(os.environ["BINARY"])
PROGRAM = os.environ["PROGRAM"]
TEXTS = Path(os.environ["TEXTS"])
OUTPUT = Path(os.environ["OUTPUT"])
# 1980 is the first year that a zip can tell.
MOMENT = max(int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")), 315532800)
DESCRIPTION = """Brings files from FTP, FTPS and SFTP servers into Azure Blob Storage
 One program for cron, systemd timers, containers and Azure Functions. It lists
 sources, decides what is new, downloads in parallel, unpacks archives, writes
 blobs, verifies size, time and checksum, and reports truthfully."""


def texts(folder):
    """(name below `folder`, path) of each file of a folder of texts, in order."""
    return [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def documents():
    """What stands beside the program: links between these files hold in an archive as in the repository."""
    top = ["README.md", "LICENSE", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "ingest.toml"]
    found = [(name, Path(name)) for name in top]
    found += [(name, Path(name)) for name in ("azure.yaml", "Dockerfile")]
    for folder in ("docs", "deploy", "infra"):
        found += [(f"{folder}/{name}", path) for name, path in texts(Path(folder))]
    return found


def entries():
    found = [(PROGRAM, BINARY, 0o755)]
    found += [(name, path, 0o644) for name, path in documents() + texts(TEXTS)]
    return found


def pack_tar(path):
    top = f"blobferry-{VERSION}-{NAME}"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, source, mode in entries():
            info = tarfile.TarInfo(f"{top}/{name}")
            content = source.read_bytes()
            info.size, info.mode, info.mtime = len(content), mode, MOMENT
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(gzip.compress(data.getvalue(), mtime=MOMENT))


def pack_zip(path):
    top = f"blobferry-{VERSION}-{NAME}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source, mode in entries():
            info = zipfile.ZipInfo(f"{top}/{name}", time.gmtime(MOMENT)[:6])
            info.create_system, info.external_attr = 3, (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, source.read_bytes())


def put(root, name, content, mode=0o644):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def pack_deb(path):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        put(root, "usr/bin/blobferry", BINARY.read_bytes(), 0o755)
        share = "usr/share/doc/blobferry"
        for name, source in documents():
            if name == "LICENSE":
                put(root, f"{share}/copyright", source.read_bytes())
            elif name.endswith((".service", ".timer")):
                unit = source.read_bytes().replace(b"/usr/local/bin/", b"/usr/bin/")
                put(root, f"usr/lib/systemd/system/{source.name}", unit)
            elif name == "ingest.toml":
                put(root, f"{share}/examples/ingest.toml", source.read_bytes())
            else:
                put(root, f"{share}/{name}", source.read_bytes())
        put(root, f"{share}/THIRD-PARTY-LICENSES.txt", (TEXTS / "THIRD-PARTY-LICENSES.txt").read_bytes())
        for name, source in texts(TEXTS / "man"):
            put(root, f"usr/share/man/man1/{name}.gz", gzip.compress(source.read_bytes(), mtime=0))
        places = {
            "bash": "bash-completion/completions/blobferry",
            "zsh": "zsh/vendor-completions/_blobferry",
            "fish": "fish/vendor_completions.d/blobferry.fish",
        }
        for shell, place in places.items():
            put(root, f"usr/share/{place}", (TEXTS / f"completions/blobferry.{shell}").read_bytes())
        size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) // 1024
        control = (
            f"Package: blobferry\nVersion: {VERSION}\nArchitecture: {ARCHITECTURE}\nSection: net\nPriority: optional\n"
            f"Maintainer: The authors of blobferry <blobferry@users.noreply.github.com>\nInstalled-Size: {size}\n"
            f"Recommends: ca-certificates\nDescription: {DESCRIPTION}\n"
        )
        put(root, "DEBIAN/control", control.encode())
        for file in [root, *root.rglob("*")]:
            os.utime(file, (MOMENT, MOMENT))
            if file.is_dir():
                file.chmod(0o755)
        told = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(path)]
        subprocess.run(told, check=True, stdout=subprocess.DEVNULL)


def main():
    if PROGRAM.endswith(".exe"):
        made = [OUTPUT / f"blobferry-{VERSION}-{NAME}.zip"]
        pack_zip(made[0])
    else:
        made = [OUTPUT / f"blobferry-{VERSION}-{NAME}.tar.gz"]
        pack_tar(made[0])
    if ARCHITECTURE:
        made.append(OUTPUT / f"blobferry_{VERSION}_{ARCHITECTURE}.deb")
        pack_deb(made[1])
    for path in made:
        print(f"artefact: {path}, {path.stat().st_size} bytes")


main()
