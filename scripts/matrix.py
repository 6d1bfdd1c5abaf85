"""Runs blobferry and rclone against every personality of examples/matrix_server.rs; see scripts/matrix.sh.

No verdict is written by hand. Each follows from the exit status, the time that it took, and the bytes in the
destination compared with those that were served.
"""

import argparse
import base64
import datetime
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / os.environ.get("BLOBFERRY_PROFILE", "release")
RCLONE = pathlib.Path(os.environ["BLOBFERRY_TEST_TOOLS"]) / "python/bin/rclone"
# What both are told: so long without a byte is a stall, so many tries.
STALL, TRIES = 2, 3
# Waits between tries, at most: 0.5 s and 1 s.
WAITS = 1.5
# A run of blobferry is over by then: every try stalls, and the five seconds that are promised.
BOUND = TRIES * STALL + WAITS + 5
# Nobody is waited for any longer.
LIMIT = 60
VERDICTS = {
    "right": "every file is there, byte for byte, and it says so",
    "named failure": "it ends with a failure, every file that is missing is named (or nothing came at all, and it says why), what is there is whole",
    "unnamed failure": "it ends with a failure, and some missing file is not named",
    "silent loss": "it ends well, and a file is missing or another one",
    "torn": "it ends with a failure, and leaves a file that is not what was served",
    "hang": f"it had not ended after {LIMIT} s",
}


def content(size):
    return bytes((n * 2654435761 % 2**32) >> 24 for n in range(size))


def fill(folder, name):
    """The files of a server, by their names."""
    files = {b"a.bin": content(100_000), b"zero.bin": b"", b"sp  ace.txt": b"hi"}
    if name == "latin1":
        files.update({b"caf\xe9.txt": b"latin", b" lead.txt": b"lead", b"trail.txt ": b"trail"})
    for file, data in files.items():
        path = os.path.join(os.fsencode(folder), file)
        with open(path, "wb") as out:
            out.write(data)
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return files


class Server:
    """One personality, as long as the block lasts."""

    def __init__(self, name, folder):
        words = [RELEASE / "examples/matrix_server", name, folder]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.at = json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self.at

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def play(words, environment, work):
    """Runs a program; its exit status (None for a hang), its seconds, its output."""
    out, err = open(work / "stdout", "wb"), open(work / "stderr", "wb")
    start = time.monotonic()
    process = subprocess.Popen(words, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
    try:
        code = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        code = None
    took = time.monotonic() - start
    text = b"".join((work / name).read_bytes() for name in ("stdout", "stderr"))
    return code, took, text


def tree(folder):
    """What a destination holds: bytes by name; the store's own folders are not looked at."""
    found = {}
    base = os.fsencode(folder)
    for where, folders, names in os.walk(base):
        folders[:] = [name for name in folders if name not in (b"_blobferry", b".blobferry")]
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, base)] = file.read()
    return found


def names_of(file):
    """How a program may spell a name in its output."""
    escaped = file.decode("utf-8", "backslashreplace")
    return {file, escaped.encode(), escaped.replace("\\xe9", "\\xE9").encode(), escaped.replace("\\x", "\\\\x").encode(), escaped.replace("\\xe9", "\\\\xE9").encode(), file.decode("latin-1").encode(), file.decode("utf-8", "replace").encode()}


def judge(code, text, served, stored):
    if code is None:
        return "hang"
    foreign = [name for name, data in stored.items() if served.get(name) != data]
    missing = [name for name in served if name not in stored]
    if code == 0:
        return "silent loss" if foreign or missing else "right"
    if foreign:
        return "torn"
    named = all(any(form in text for form in names_of(name)) for name in missing)
    # Where nothing came, the source as a whole must have been told of.
    return "named failure" if named or not stored and text.strip() else "unnamed failure"


def blobferry(at, protocol, work):
    secret = urllib.parse.quote(at["password"], safe="")
    key = f"host_key = \"{at['host_key']}\"\n" if at["host_key"] else ""
    (work / "ingest.toml").write_text(
        "[destination]\nfolder = \"store\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\nrotation = \"never\"\n"
        f"[[source]]\nname = \"acme\"\nurl = \"{protocol}://demo:{secret}@127.0.0.1:{at['port']}/\"\n{key}"
        f"stall_timeout = \"{STALL}s\"\nconnect_timeout = \"{STALL}s\"\nattempts = {TRIES}\nstable_for = \"0s\"\n"
    )
    code, took, text = play([RELEASE / "blobferry", "run", "--json"], {}, work)
    stored = {urllib.parse.unquote_to_bytes(name): data for name, data in tree(work / "store/acme").items()}
    return code, took, text, stored


def rclone(at, protocol, work):
    obscured = subprocess.run([RCLONE, "obscure", at["password"]], check=True, capture_output=True, text=True).stdout.strip()
    remote = f":{protocol},host=127.0.0.1,port={at['port']},user=demo,pass={obscured}"
    remote += f",shut_timeout={STALL}s" if protocol == "ftp" else ",shell_type=none"
    words = [RCLONE, "copy", remote + ":", work / "store", f"--timeout={STALL}s", f"--contimeout={STALL}s"]
    words += [f"--retries={TRIES}", f"--low-level-retries={TRIES}", "-v"]
    code, took, text = play(words, {"RCLONE_CONFIG": "/dev/null", "HOME": str(work), "PATH": os.environ["PATH"]}, work)
    return code, took, text, tree(work / "store")


def broken_promises(best, verdict, code, took, text, at, work):
    """What blobferry promises of every run and did not keep in this one."""
    broken = [verdict] if verdict not in ("right", "named failure") and best != "unseen" else []
    if took > BOUND:
        broken.append(f"{took:.1f} s, promised are {BOUND} s")
    log = (work / "log/monitor.log").read_bytes()
    state = b"".join(path.read_bytes() for path in (work / "store").rglob("*") if path.is_file())
    secret = at["password"]
    for form in (secret, urllib.parse.quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")):
        if any(form.lower().encode() in place.lower() for place in (text, log, state)):
            broken.append("the password is told")
    for line in log.splitlines() + (work / "stderr").read_bytes().splitlines():
        try:
            fine = isinstance(json.loads(line), dict) and not any(byte < 0x20 or byte == 0x7F for byte in line)
        except ValueError:
            fine = False
        if not fine:
            broken.append(f"a log line is no JSON: {line[:80]!r}")
    if code is not None:
        for source in json.loads((work / "stdout").read_bytes())["sources"]:
            if source["listed"] != sum(source[key] for key in ("ingested", "unchanged", "skipped", "deferred", "failed")):
                broken.append("its report does not add up")
    return broken


CONTESTANTS = {"blobferry": blobferry, "rclone": rclone}


def meet(one, contestant):
    """One contestant before one server, each new. Verdict, seconds, broken promises."""
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        base = pathlib.Path(folder)
        (base / "served").mkdir()
        (base / "work").mkdir()
        served = fill(base / "served", one["name"])
        with Server(one["name"], base / "served") as at:
            code, took, text, stored = CONTESTANTS[contestant](at, one["protocol"], base / "work")
            verdict = judge(code, text, served, stored)
            broken = broken_promises(one["best"], verdict, code, took, text, at, base / "work") if contestant == "blobferry" else []
    # A failure where every file could be had is told, but it is not the best.
    if one["best"] == "all" and verdict == "named failure":
        broken += ["a file is missing that could be had"] if contestant == "blobferry" else []
    return verdict, took, broken


def version(words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def document(rows, names):
    build = {"release": "release build", "debug": "development build"}.get(RELEASE.name, RELEASE.name)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    date = datetime.datetime.now(datetime.timezone.utc).date()
    lines = [
        "# The same servers, two clients",
        "",
        f"Made by `scripts/matrix.sh` on {date}: {version([RELEASE / 'blobferry', '--version'])} ({build}), {version([RCLONE, 'version'])}, {machine}.",
        "",
        "Every server is played by the same program (`examples/matrix_server.rs`) and serves `a.bin` (100,000 bytes), an empty file and a small one. "
        f"Both clients copy to a folder; both are told {STALL} s for stalls and connections and {TRIES} tries "
        f"(rclone: `--timeout {STALL}s --contimeout {STALL}s --retries {TRIES} --low-level-retries {TRIES}`, for FTP `shut_timeout={STALL}s`, for SFTP `shell_type=none`; the rest as it comes). "
        f"After {LIMIT} s a client is stopped. No verdict is written by hand:",
        "",
    ]
    lines += [f"- **{verdict}**: {meaning}." for verdict, meaning in VERDICTS.items()]
    lines += [
        "",
        "\"Best\" is what the best client can come to: `all` where every file can be had, `named` where one cannot, `unseen` where nobody can know of it without a checksum from the server. "
        f"Of every run of blobferry is checked besides: it ends within {BOUND} s ({TRIES} stalls, the waits between, and five seconds), its report adds up, "
        "no output, log or state holds the password, every log line is JSON without control bytes.",
        "",
        "| server | what it does | best | " + " | ".join(names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for one, results in rows:
        cells = [f"{verdict}, {took:.1f} s" for verdict, took, _ in (results[name] for name in names)]
        lines.append(f"| `{one['name']}` | {one['what']} | {one['best']} | " + " | ".join(cells) + " |")
    lines += ["", "| of " + str(len(rows)) + " | " + " | ".join(VERDICTS) + " | longest |", "|---|" + "---|" * (len(VERDICTS) + 1)]
    for name in names:
        found = [results[name][0] for _, results in rows]
        longest = max(results[name][1] for _, results in rows)
        lines.append(f"| {name} | " + " | ".join(str(found.count(verdict)) for verdict in VERDICTS) + f" | {longest:.1f} s |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", default=str(ROOT / "docs/matrix.md"))
    parser.add_argument("--only", choices=CONTESTANTS)
    options = parser.parse_args()
    every = [json.loads(line) for line in subprocess.run([RELEASE / "examples/matrix_server", "list"], check=True, capture_output=True, text=True).stdout.splitlines()]
    unknown = set(options.names) - {one["name"] for one in every}
    if unknown:
        sys.exit(f"no personality {', '.join(sorted(unknown))}")
    chosen = [one for one in every if not options.names or one["name"] in options.names]
    contestants = [options.only] if options.only else list(CONTESTANTS)
    rows, broken = [], []
    for one in chosen:
        results = {name: meet(one, name) for name in contestants}
        rows.append((one, results))
        print(one["name"], *(f"{name}: {verdict} {took:.1f} s" for name, (verdict, took, _) in results.items()), sep=" | ", flush=True)
        broken += [f"{one['name']}: {text}" for result in results.values() for text in result[2]]
    if not options.names and not options.only:
        page = pathlib.Path(options.out)
        # What scripts/servers.sh wrote below stays.
        mark = "\n## Servers of other projects\n"
        rest = page.read_text(encoding="utf-8").partition(mark)[2] if page.exists() else ""
        page.write_text(document(rows, contestants) + (mark + rest if rest else ""), encoding="utf-8")
        print(f"wrote {options.out}")
    for text in broken:
        print(f"BROKEN {text}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
