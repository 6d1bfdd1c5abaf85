#!/usr/bin/env python3
"""One folder of very many files that are all new: how long a plan of it takes, and in what memory.

    scripts/many-files.py --binary target/release/blobferry [--files 1000000] [--at /dev/shm]

Exit status 1 if the plan does not name all of them, or if the process took more memory than --most-mib."""
import argparse, os, resource, shutil, subprocess, sys, tempfile, time


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--most-mib", type=int, help="fail if the process takes more")
    parser.add_argument("--at", default=tempfile.gettempdir())
    options = parser.parse_args()
    at = tempfile.mkdtemp(prefix="many-files-", dir=options.at)
    try:
        os.mkdir(f"{at}/src")
        for number in range(options.files):
            path = f"{at}/src/measurement-2026-11-{number:07d}.csv"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            os.utime(path, (1_600_000_000, 1_600_000_000))
        with open(f"{at}/ingest.toml", "w") as file:
            file.write(f'[destination]\nfolder = "out"\n[log]\nfiles = false\n[[source]]\nname = "many"\nurl = "file://{at}/src"\n')
        began = time.monotonic()
        with subprocess.Popen([os.path.abspath(options.binary), "plan"], cwd=at, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as plan:
            named = sum(b" -> many/measurement-" in line for line in plan.stdout)
        seconds = time.monotonic() - began
    finally:
        shutil.rmtree(at, ignore_errors=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{named} of {options.files} files planned in {seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of CPU), "
          f"{used.ru_maxrss >> 10} MiB, exit {plan.returncode}")
    too_large = options.most_mib is not None and used.ru_maxrss >> 10 > options.most_mib
    sys.exit(plan.returncode != 0 or named != options.files or too_large)


if __name__ == "__main__":
    main()
