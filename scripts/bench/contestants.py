"""The contestants: the command of each, and what it needs to be there."""

import os
import shlex

ACCOUNT = "devstoreaccount1"
# Public: the storage emulator's, the same everywhere. In two parts, so that no scanner for secrets takes it for one.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq" + "/K1SZFPTOtr/KBHBeksoGMGw" + "=="
PRODUCT = "blobferry"
BEFORE = "blobferry-before"  # another binary of the product, to compare with
RCLONE_FEW_REQUESTS = "--no-check-dest --no-traverse --azureblob-no-check-container"


class Stage:
    """Where one run of one contestant happens."""

    def __init__(self, row, data, servers, tools, programs, folder, container, password):
        self.row, self.data, self.servers, self.tools, self.programs = row, data, servers, tools, programs
        self.folder, self.container, self.password = folder, container, password
        self.host = servers_host(row)
        far = row.rtt > 0
        self.port = servers.ssh if row.proto == "sftp" else servers.ftp_far if far else servers.ftp
        self.endpoint = f"http://{'127.0.0.3' if row.store_rtt else '127.0.0.1'}:{servers.sink}/{ACCOUNT}"
        self.down = os.path.join(folder, "down")


def servers_host(row):
    return "127.0.0.2" if row.rtt else "127.0.0.1"


def remote_path(stage):
    """SFTP begins at /, the anonymous user of vsftpd above the data sets."""
    return stage.data.path if stage.row.proto == "sftp" else "/" + stage.data.name


def product(stage, program=PRODUCT):
    """Writes the configuration, gives back the command."""
    row, url = stage.row, ""
    if row.proto == "sftp":
        url = f"sftp://{stage.servers.user}@{stage.host}:{stage.port}{stage.data.path}"
        extra = [f"private_key_file = \"{stage.servers.inside('user_key')}\"", f"host_key = \"{stage.servers.host_key}\""]
    elif row.proto in ("ftp", "ftps"):
        scheme = "ftpes" if row.proto == "ftps" else "ftp"
        url = f"{scheme}://anonymous@{stage.host}:{stage.port}/{stage.data.name}"
        extra = [f"password = \"{stage.password}\""] + ([f"tls_pin = \"{stage.servers.certificate}\""] if row.proto == "ftps" else [])
    else:
        url, extra = f"file://{stage.data.path}", []
    if row.proto == "local":
        destination = [f"folder = \"{stage.down}\""]
    else:
        storage = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={stage.endpoint};"
        destination = [f"connection_string = \"{storage}\"", f"container = \"{stage.container}\"", "create_container = true"]
    lines = ["[destination]", *destination, "[limits]", *filter(None, [row.limits]), "[log]", "files = false", "level = \"warn\"",
             "[[source]]", "name = \"bench\"", f"url = \"{url}\"", *extra, *filter(None, [row.source])]
    config = os.path.join(stage.folder, "ingest.toml")
    with open(config, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    return f"{shlex.quote(stage.programs[program])} run --config {shlex.quote(config)}"


def rclone_environment(stage):
    row, kind = stage.row, "sftp" if stage.row.proto == "sftp" else "ftp"
    source = {"TYPE": kind, "HOST": stage.host, "PORT": stage.port}
    if kind == "sftp":
        source.update(USER=stage.servers.user, KEY_FILE=stage.servers.inside("user_key"), SHELL_TYPE="none", DISABLE_HASHCHECK="true")
    else:
        source.update(USER="anonymous", PASS=_obscured(stage), EXPLICIT_TLS=str(row.proto == "ftps").lower(), NO_CHECK_CERTIFICATE="true")
    target = {"TYPE": "azureblob", "ACCOUNT": ACCOUNT, "KEY": KEY, "ENDPOINT": stage.endpoint}
    archive = {"TYPE": "archive", "REMOTE": "src:" + remote_path(stage)}
    named = {"SRC": source, "DST": target, "ARC": archive}
    settings = {f"RCLONE_CONFIG_{name}_{key}": str(value) for name, part in named.items() for key, value in part.items()}
    return {"RCLONE_CONFIG": "/dev/null", **settings}


def _obscured(stage):
    import subprocess
    return subprocess.run([stage.tools["rclone"], "obscure", stage.password], check=True, capture_output=True, text=True).stdout.strip()


def rclone(options):
    def command(stage):
        return f"{stage.tools['rclone']} copy src:{shlex.quote(remote_path(stage))} dst:{stage.container} {options}"
    return command, rclone_environment, ("rclone",)


UNZIP_EACH = "find {down} -type f -iname '*.zip' -print0 | xargs -0 -r -n1 -P2 sh -c '{unzip} -q -o \"$0\" -d \"$0.d\" </dev/null && rm -f \"$0\"'"


def rclone_unzip_rclone(stage):
    tool, down = stage.tools["rclone"], stage.down
    unzip = UNZIP_EACH.format(down=down, unzip=stage.tools["unzip"])
    return (f"set -e; {tool} copy src:{remote_path(stage)} {down} --transfers 16; {unzip}; "
            f"{tool} copy {down} dst:{stage.container} --transfers 16 --checkers 16 {RCLONE_FEW_REQUESTS}")


def rclone_archive(stage):
    return f"{stage.tools['rclone']} copy arc: dst:{stage.container} --transfers 16 --checkers 16 {RCLONE_FEW_REQUESTS}"


def _lftp(stage, parallel):
    sftp = stage.row.proto == "sftp"
    connect = f"ssh -a -x -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i {stage.servers.inside('user_key')}"
    user, password = (stage.servers.user, "x") if sftp else ("anonymous", stage.password)
    settings = (f"set sftp:connect-program \"{connect}\"; set ssl:verify-certificate no; set ftp:ssl-force {str(stage.row.proto == 'ftps').lower()}; "
                f"set ftp:ssl-allow {str(stage.row.proto == 'ftps').lower()}; set ftp:ssl-protect-data true; set ftp:prefer-epsv yes; set cmd:fail-exit yes; "
                "set net:max-retries 3; set net:timeout 20; ")
    opened = f"open -u {user},{password} -p {stage.port} {'sftp' if sftp else 'ftp'}://{stage.host}; "
    return f"{stage.tools['lftp']} -c {shlex.quote(settings + opened + f'mirror --parallel={parallel} {remote_path(stage)} {stage.down}')}"


def _azcopy(stage):
    return (f"{stage.tools['azcopy']} copy '{stage.down}/*' '{stage.endpoint}/{stage.container}?sv=2021-06-08&sig=eA%3D%3D&se=2099-01-01&sp=rwlac&sr=c' "
            "--recursive --from-to LocalBlob --put-md5 --log-level ERROR --output-level quiet")


def azcopy_environment(stage):
    return {"AZCOPY_LOG_LOCATION": stage.folder + "/azlog", "AZCOPY_JOB_PLAN_LOCATION": stage.folder + "/azplan", "AZCOPY_DISABLE_SYSLOG": "true"}


def lftp_azcopy(parallel):
    return (lambda stage: f"set -e; {_lftp(stage, parallel)}; {_azcopy(stage)}"), azcopy_environment, ("lftp", "azcopy")


def lftp_unzip_azcopy(stage):
    return f"set -e; {_lftp(stage, 8)}; {UNZIP_EACH.format(down=stage.down, unzip=stage.tools['unzip'])}; {_azcopy(stage)}"


def sftp_download(stage):
    """Downloads only, into nothing: less work than all others, and still the measure of a window."""
    batch = os.path.join(stage.folder, "batch")
    with open(batch, "w", encoding="utf-8") as out:
        out.write(f"get -r {stage.data.path}/* {stage.down}\n")
    return (f"{stage.tools['sftp']} -q -S {stage.tools['ssh']} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
            f"-i {stage.servers.inside('user_key')} -P {stage.port} -b {batch} {stage.servers.user}@{stage.host}")


def each_zip(command):
    """Unpacks every archive, two at a time, as the two cores of the smallest machine allow."""
    def filled(stage):
        one = command.format(**stage.tools, down=stage.down)
        return f"find {stage.data.path} -name '*.zip' -print0 | xargs -0 -n1 -P2 sh -c {shlex.quote(one)}"
    return filled


def flushed(command):
    """The same, and what was written is brought to the disk: what blobferry promises of each file."""
    return lambda stage: f"{command(stage)} && sync -f {stage.down}"


def nothing(_stage):
    return {}


UNZIP = each_zip("mkdir -p {down}; {unzip} -q -o \"$0\" -d {down}/$(basename \"$0\")")


# name: (command, environment, tools needed)
CONTESTANTS = {
    PRODUCT: (product, nothing, ()),
    BEFORE: (lambda stage: product(stage, BEFORE), nothing, ()),
    "rclone": rclone(""),
    **{f"rclone-{count}": rclone(f"--transfers {count} --checkers {count}") for count in (1, 2, 4, 8, 16, 32)},
    "rclone+unzip+rclone": (rclone_unzip_rclone, rclone_environment, ("rclone", "unzip")),
    "rclone-archive": (rclone_archive, rclone_environment, ("rclone",)),
    "lftp+azcopy": lftp_azcopy(8),
    "lftp-4+azcopy": lftp_azcopy(4),
    "lftp+unzip+azcopy": (lftp_unzip_azcopy, azcopy_environment, ("lftp", "azcopy", "unzip")),
    "sftp-download": (sftp_download, nothing, ("sftp", "ssh")),
    "unzip": (UNZIP, nothing, ("unzip",)),
    "unzip+sync": (flushed(UNZIP), nothing, ("unzip",)),
    "bsdtar": (each_zip("mkdir -p {down}/$(basename \"$0\"); {bsdtar} -x -f \"$0\" -C {down}/$(basename \"$0\")"), nothing, ("bsdtar",)),
    "python-zipfile": (each_zip("mkdir -p {down}; python3 -m zipfile -e \"$0\" {down}/$(basename \"$0\")"), nothing, ()),
}
