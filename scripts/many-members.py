#!/usr/bin/env python3
"""One zip of very many members into a folder: whether all arrive, in what time and memory.

    scripts/many-members.py --binary target/release/blobferry [--members 1000000] [--at /dev/shm]

The members are empty, so that what is measured is what each member costs. Exit status 1 if one is missing, or if the
process took more memory than --most-mib. A folder destination makes two files a member: --at names where there is room."""
import argparse, os, resource, shutil, subprocess, sys, tempfile, time, zipfile


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--most-mib", type=int, help="fail if the process takes more")
    parser.add_argument("--at", default=tempfile.gettempdir())
    options = parser.parse_args()
    at = tempfile.mkdtemp(prefix="many-members-", dir=options.at)
    try:
        os.mkdir(f"{at}/src")
        with zipfile.ZipFile(f"{at}/src/many.zip", "w") as archive:
            for number in range(options.members):
                archive.writestr(f"d{number % 1000}/{number}", "")
        with open(f"{at}/ingest.toml", "w") as file:
            file.write(f'[destination]\nfolder = "out"\n[log]\nfiles = false\n'
                       f'[[source]]\nname = "many"\nurl = "file://{at}/src"\nstable_for = "0s"\n')
        began = time.monotonic()
        done = subprocess.run([os.path.abspath(options.binary), "run"], cwd=at, capture_output=True, stdin=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        arrived = sum(len(files) for _, _, files in os.walk(f"{at}/out/many"))
    finally:
        shutil.rmtree(at, ignore_errors=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{arrived} of {options.members} members in {seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of CPU), "
          f"{used.ru_maxrss >> 10} MiB, exit {done.returncode}")
    if done.returncode:
        print(done.stdout.decode()[-2000:], done.stderr.decode()[-1000:], sep="\n")
    too_large = options.most_mib is not None and used.ru_maxrss >> 10 > options.most_mib
    sys.exit(done.returncode != 0 or arrived != options.members or too_large)


if __name__ == "__main__":
    main()
