#!/usr/bin/env python3
"""One archive of very many members into a folder: whether all arrive, in what time and memory.

    scripts/many-members.py --binary target/release/blobferry [--members 1000000] [--kind tar.gz] [--at /dev/shm]

The members are empty, so that what is measured is what each member costs. Exit status 1 if one is missing, or if the
process took more memory than --most-mib. A folder destination makes two files a member: --at names where there is room."""
import argparse, os, shutil, subprocess, sys, tempfile, time

MAKE = """
import sys, tarfile, zipfile
names = (f"d{number % 1000}/{number}" for number in range(int(sys.argv[2])))
if sys.argv[1].endswith(".zip"):
    with zipfile.ZipFile(sys.argv[1], "w") as archive:
        for name in names:
            archive.writestr(name, "")
else:
    with tarfile.open(sys.argv[1], "w:gz" if sys.argv[1].endswith("gz") else "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
            archive.members.clear()
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=["zip", "tar", "tar.gz"], default="zip")
    parser.add_argument("--most-mib", type=int, help="fail if the process takes more")
    parser.add_argument("--at", default=tempfile.gettempdir())
    options = parser.parse_args()
    at = tempfile.mkdtemp(prefix="many-members-", dir=options.at)
    try:
        os.mkdir(f"{at}/src")
        # In a process of its own: the memory of this one counts as that of a program that it starts.
        subprocess.run([sys.executable, "-c", MAKE, f"{at}/src/many.{options.kind}", str(options.members)], check=True)
        with open(f"{at}/ingest.toml", "w") as file:
            file.write(f'[destination]\nfolder = "out"\n[log]\nfiles = false\n'
                       f'[[source]]\nname = "many"\nurl = "file://{at}/src"\nstable_for = "0s"\n')
        began = time.monotonic()
        with open(f"{at}/told", "wb") as told:
            run = subprocess.Popen([os.path.abspath(options.binary), "run"], cwd=at, stdout=told, stderr=told, stdin=subprocess.DEVNULL)
            _, status, used = os.wait4(run.pid, 0)
        code = run.returncode = os.waitstatus_to_exitcode(status)
        with open(f"{at}/told", errors="replace") as told:
            words = told.read()
        seconds = time.monotonic() - began
        arrived = sum(len(files) for _, _, files in os.walk(f"{at}/out/many"))
    finally:
        shutil.rmtree(at, ignore_errors=True)
    print(f"{options.kind}: {arrived} of {options.members} members in {seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of CPU), "
          f"{used.ru_maxrss >> 10} MiB, exit {code}")
    if code:
        print(words[-3000:])
    too_large = options.most_mib is not None and used.ru_maxrss >> 10 > options.most_mib
    sys.exit(code != 0 or arrived != options.members or too_large)


if __name__ == "__main__":
    main()
