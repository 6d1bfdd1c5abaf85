#!/usr/bin/env python3
"""The status page over very many sources and files: how long each page takes, and in what memory.

    scripts/many-pages.py --binary target/release/blobferry [--sources 1000] [--files 1000] [--runs 24]

Sources are folders of tiny files, taken by real runs; then each page is asked for, in HTML and in JSON. Exit status 1 if a
page is no answer, or takes more than --most-ms (the best of five), or if the process takes more than --most-mib.

The server runs as the template, the image and the unit run it: with MIMALLOC_PURGE_DELAY=10, unless that is set."""
import argparse, os, re, shutil, subprocess, sys, tempfile, time, urllib.request

ROUNDS = 5


def make(at, sources, files):
    os.mkdir(f"{at}/in")
    lines = ['[destination]\nfolder = "out"\n[log]\nfiles = false\n[defaults]\nstable_for = "0s"\n']
    for source in range(sources):
        folder = f"{at}/in/s{source:05}"
        os.mkdir(folder)
        for number in range(files):
            with open(f"{folder}/report_{source:05}_{number:06}.csv", "w") as file:
                file.write(f"{source},{number}\n")
        lines.append(f'[[source]]\nname = "s{source:05}"\nurl = "file://{folder}"\n')
    with open(f"{at}/ingest.toml", "w") as file:
        file.write("".join(lines))


def run(binary, at):
    done = subprocess.run([binary, "run", "--quiet"], cwd=at, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"a run ended with {done.returncode}: {done.stderr.decode()[-1000:]}")


def pages(at):
    folder = f"{at}/out/_blobferry/_runs"
    names = [name for _, _, files in os.walk(folder) for name in files]
    last = max(name for name in names if re.match(r"\d{8}T.*\.json$", name))[: -len(".json")]
    path = f"{at}/in/s00007/report_00007_000003.csv"
    return {
        "overview": "", "sources": "/sources", "source": "/sources/s00001", "runs": "/runs", "run": f"/runs/{last}",
        "name": "/files?q=report_00007_000003.csv", "part of a name": "/files?q=_000003", "no name": "/files?q=nothing-of-it",
        "file": f"/files/s00007{path}", "month": f"/months/{last[:4]}-{last[4:6]}",
    }


def asked(address, path, form):
    base, key = address.split("?")
    url = f"{base}{path}{'&' if '?' in path else '?'}{key}"
    began = time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": form}), timeout=300) as answer:
        size = len(answer.read())
    return (time.monotonic() - began) * 1000, size


def most_mib(process):
    with open(f"/proc/{process.pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) >> 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--sources", type=int, default=1000)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--most-ms", type=float, help="fail if a page takes longer")
    parser.add_argument("--most-mib", type=int, help="fail if the process takes more")
    parser.add_argument("--at", default=tempfile.gettempdir())
    options = parser.parse_args()
    binary = os.path.abspath(options.binary)
    at = tempfile.mkdtemp(prefix="many-pages-", dir=options.at)
    faults = []
    try:
        make(at, options.sources, options.files)
        for number in range(options.runs):
            run(binary, at)
            # Later runs bring a file of one source each.
            with open(f"{at}/in/s{number % options.sources:05}/later_{number}.csv", "w") as file:
                file.write(f"{number}\n")
        environment = {"MIMALLOC_PURGE_DELAY": "10"} | os.environ
        process = subprocess.Popen([binary, "serve", "--status", "--port", "0"], cwd=at, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, env=environment)
        try:
            address = next(found.group(0) for line in process.stdout if (found := re.search(r"http://\S+", line)))
            print(f"{options.sources} sources, {options.sources * options.files} files, {options.runs} runs; "
                  f"{most_mib(process)} MiB before the first page")
            for name, path in pages(at).items():
                for form in ("text/html", "application/json"):
                    took, size = min(asked(address, path, form) for _ in range(ROUNDS))
                    print(f"{name:15} {form:17} {took:7.0f} ms {size / 1024:8.1f} KiB   {most_mib(process):4} MiB", flush=True)
                    if options.most_ms is not None and took > options.most_ms:
                        faults.append(f"{name} ({form}) took {took:.0f} ms")
            if options.most_mib is not None and most_mib(process) > options.most_mib:
                faults.append(f"the process took {most_mib(process)} MiB")
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(at, ignore_errors=True)
    print("\n".join(faults) or "all pages in time and memory")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
