"""Runs the job of scripts/callgrind.sh under callgrind, and judges what it counted."""

import argparse
import collections
import contextlib
import datetime
import glob
import os
import platform
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOUND = os.path.join(ROOT, "scripts", "callgrind.bound")
MOST = 1.3
TIME_LIMIT = 300
FILES, ARCHIVES, MEMBERS = 200, 1, 20
SHOWN = 10
# Each run, and what its report has to say: a job that did less than all of it is no measure.
ALL_NEW = f"ingested {FILES + ARCHIVES} + unchanged 0"
RUNS = {"first": ALL_NEW, "again": f"ingested 0 + unchanged {FILES + ARCHIVES}", "store": ALL_NEW}


def main():
    parser = argparse.ArgumentParser(prog="scripts/callgrind.sh", description="Counts the instructions of a fixed small job.")
    parser.add_argument("--update", action="store_true", help="make what is counted the bound of this kind of processor")
    parser.add_argument("--keep", metavar="FOLDER", help="leave the profiles there")
    arguments = parser.parse_args()
    # As on a machine with one core: some of the work is divided by their number.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="blobferry-callgrind-") as folder:
        profiles = os.path.abspath(arguments.keep) if arguments.keep else folder
        os.makedirs(profiles, exist_ok=True)
        local = _job(folder)
        with _sink() as address:
            configs = {"store": _into_store(folder, address)}
            counted = {name: _run(name, told, configs.get(name, local), folder, os.path.join(profiles, f"callgrind.{name}"))
                       for name, told in RUNS.items()}
    if arguments.update:
        _update(counted)
    sys.exit(0 if all([_judged(name, count, _bounds()) for name, count in counted.items()]) else 1)


def _job(folder):
    """Makes the files that are brought over, and the configuration."""
    sys.path.insert(0, os.path.join(ROOT, "scripts", "bench"))
    import data
    source = os.path.join(folder, "source")
    data.make(f"plain-{FILES}-20k", source)
    data.make(f"deflated-{ARCHIVES}-{MEMBERS}-10k", source)
    for manifest in glob.glob(os.path.join(source, "*.json")):
        os.remove(manifest)
    return _config(folder, "ingest.toml", [f"folder = \"{folder}/destination\""])


def _config(folder, name, destination):
    config = os.path.join(folder, name)
    lines = ["[destination]", *destination, "[log]", "files = false", "level = \"warn\"",
             "[[source]]", "name = \"counted\"", f"url = \"file://{folder}/source\""]
    with open(config, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    return config


def _into_store(folder, address):
    """The same job into a Blob service: requests, slots, one journal for all of them."""
    import contestants
    account = contestants.ACCOUNT
    storage = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={contestants.KEY};BlobEndpoint=http://{address}/{account};"
    return _config(folder, "store.toml", [f"connection_string = \"{storage}\"", "container = \"counted\"", "create_container = true"])


@contextlib.contextmanager
def _sink():
    """The Blob service in memory that the benchmarks write to."""
    program = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"), "debug", "examples", "bench_sink")
    with subprocess.Popen([program, "127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as sink:
        try:
            yield sink.stdout.readline().strip()
        finally:
            sink.kill()


def _valgrind():
    """The program itself, not Debian's wrapper, which has the counted program load other libraries; and where its tools are."""
    root = os.path.join(ROOT, os.environ["BLOBFERRY_TEST_TOOLS"], "valgrind")
    program = next(path for name in ("valgrind.bin", "valgrind") if os.path.exists(path := os.path.join(root, "usr/bin", name)))
    tools = [path for place in ("usr/libexec", "usr/lib", "usr/lib/*") for path in glob.glob(os.path.join(root, place, "valgrind/callgrind-*-linux"))]
    return program, os.path.dirname(tools[0])


def _run(name, told, config, folder, profile):
    """Counts one run, shows what took most of it, gives back its instructions."""
    valgrind, library = _valgrind()
    program = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"), "debug", "blobferry")
    # Nothing of the caller's settings, which are the program's too.
    environment = {"PATH": os.environ["PATH"], "HOME": folder, "LC_ALL": "C.UTF-8", "TZ": "UTC", "VALGRIND_LIB": library}
    command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={profile}", f"--log-file={folder}/valgrind.log",
               program, "run", "--config", config]
    began = time.monotonic()
    done = subprocess.run(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    took = time.monotonic() - began
    if done.returncode or told not in done.stdout + done.stderr:
        with open(f"{folder}/valgrind.log", encoding="utf-8", errors="replace") as log:
            sys.exit(f"callgrind: the {name} run ended with {done.returncode}; it should have said `{told}`:\n{done.stdout}{done.stderr}{log.read()}")
    total, functions = _profile(profile)
    print(f"\n{name}: {total:,} instructions ({took:.0f} s)")
    for function, own in functions.most_common(SHOWN):
        print(f"  {own:>13,} {own / total:6.1%}  {function[:110]}")
    return total


def _profile(path):
    """All instructions, and those of each function itself, inlined ones with whom they are part of."""
    total, function, called, names, own = 0, None, False, {}, collections.Counter()
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("fn=", "cfn=")):
                # A name stands where its number is first used.
                kind, _, named = line.strip().partition("=")
                number, _, name = named.partition(" ")
                names.setdefault(number, re.sub(r"'\d+$", "", name))
                function = names[number] if kind == "fn" else function
            elif line.startswith("calls="):
                called = True  # the next line is the cost of what was called, which is counted there
            elif line[0] in "+-*0123456789":
                if not called:
                    own[function] += int(line.split()[1])
                called = False
            elif line.startswith("totals:"):
                total = int(line.split()[1])
    if total == 0 or sum(own.values()) != total:
        sys.exit(f"callgrind: {path} tells of {total:,} instructions, its functions of {sum(own.values()):,}")
    return total, own


def _bounds():
    """Instructions, by processor and run."""
    found = {}
    if os.path.exists(BOUND):
        with open(BOUND, encoding="utf-8") as lines:
            for words in (line.partition("#")[0].split() for line in lines):
                if words:
                    found[words[0], words[1]] = int(words[2])
    return found


def _judged(name, count, bounds):
    bound = bounds.get((platform.machine(), name))
    if bound is None:
        print(f"{name}: no bound for {platform.machine()}; `scripts/callgrind.sh --update` writes one", file=sys.stderr)
        return False
    said = f"{name}: {count:,} instructions, {count / bound:.3f} of the {bound:,} in scripts/callgrind.bound"
    if count > bound * MOST:
        print(f"{said}: more than {MOST}. Make it cheaper, or say in the commit why it costs more and run `scripts/callgrind.sh --update`", file=sys.stderr)
        return False
    print(said + ("; `scripts/callgrind.sh --update` would keep that gain" if count * MOST < bound else ""))
    return True


def _update(counted):
    kept = []
    if os.path.exists(BOUND):
        with open(BOUND, encoding="utf-8") as lines:
            kept = [line for line in lines if not line.startswith("#") and not line.startswith(platform.machine() + " ")]
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    answers = [subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split() for program in ("rustc", _valgrind()[0])]
    measured = ", ".join(filter(None, [datetime.date.today().isoformat(), processor, f"rustc {answers[0][1]}", answers[1][0]]))
    head = ["# Instructions of the job of scripts/callgrind.sh, which writes this file with --update and fails above 1.3 times these.\n"]
    ours = [f"{platform.machine()} {name} {count} # {measured}\n" for name, count in counted.items()]
    with open(BOUND, "w", encoding="utf-8") as out:
        out.writelines(head + sorted(kept + ours))


if __name__ == "__main__":
    main()
