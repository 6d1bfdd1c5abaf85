"""Reads every file of some folders by blobferry and by other programs, and makes a table of how each did.

    scripts/archives.py --binary target/release/blobferry FOLDER…

Each folder is a corpus: archives that others made, as test suites hold them. What a file holds is what at least two
readers that share no code agree upon: the multiset of its files' contents. Then a reader is

    right      it gives just that
    justly     it refuses what no two readers agree upon
    unneeded   it refuses what two others read
    whole      it gives the archive itself, as if it were no archive
    wrong      it gives something else and calls it well
    alone      it gives something where no two readers agree

Programs that are not there are left out of the table, and named below it. Nothing of a corpus is written anywhere but
into temporary folders."""
import argparse, collections, hashlib, json, os, pathlib, resource, shutil, subprocess, sys, tempfile

SECONDS, MOST_BYTES = 20, 300 << 20
# Readers that share their code count as one.
PYTHON = """
import sys, zipfile, tarfile, gzip, bz2, lzma, hashlib
path, name = sys.argv[1:]
def tell(stream):
    digest, size = hashlib.md5(), 0
    for piece in iter(lambda: stream.read(1 << 16), b""):
        digest.update(piece); size += len(piece)
        if size > 300 << 20: raise SystemExit("too much")
    print(digest.hexdigest())
head = open(path, "rb").read(8)
if head[:2] == b"PK" or (zipfile.is_zipfile(path) and name.lower().endswith((".zip", ".zipx"))):
    archive = zipfile.ZipFile(path)
    for info in archive.infolist():
        kind = info.external_attr >> 28 if info.create_system in (3, 19) else 0
        if kind == 10 or (info.file_size == 0 and (kind in (4, 6, 2, 1, 12) or info.is_dir())): continue
        tell(archive.open(info))
else:
    try: archive = tarfile.open(path)
    except tarfile.ReadError:
        one = {b"\\x1f\\x8b": gzip.open, b"BZ": bz2.open, b"\\xfd7": lzma.open}.get(head[:2])
        if one is None: raise
        tell(one(path)); raise SystemExit(0)
    for info in archive:
        if info.isfile() or info.islnk(): tell(archive.extractfile(info))
"""
EXTRACT = {"7zz": ["7zz", "x", "-y", "-p", "-o{to}", "{file}"], "libarchive": ["bsdtar", "-xf", "{file}", "-C", "{to}"],
           "unzip": ["unzip", "-o", "-q", "-P", "", "{file}", "-d", "{to}"]}
STREAM = {".gz": ["gzip", "-dc"], ".xz": ["xz", "-dc"], ".bz2": ["bzip2", "-dc"], ".zst": ["zstd", "-dcq"], ".lz4": ["lz4", "-dcq"]}


def limited():
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def call(words, **more):
    try:
        return subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, preexec_fn=limited, **more)
    except (subprocess.TimeoutExpired, OSError):
        return None


def digests(folder):
    files = (pathlib.Path(at) / name for at, _, names in os.walk(folder) for name in names)
    return collections.Counter(hashlib.md5(file.read_bytes()).hexdigest() for file in files if file.is_file() and not file.is_symlink())


def by_python(file, _):
    done = call([sys.executable, "-c", PYTHON, str(file), file.name])
    return collections.Counter(done.stdout.decode().split()) if done and done.returncode == 0 else None


def by_extracting(words):
    def read(file, to):
        done = call([word.format(file=file, to=to) for word in words])
        subprocess.run(["chmod", "-R", "u+rwX", to], check=False)
        return digests(to) if done and done.returncode == 0 else None
    return read


def by_stream(file, _):
    words = STREAM.get(file.suffix.lower())
    done = call([*words, str(file)]) if words and shutil.which(words[0]) else None
    return collections.Counter([hashlib.md5(done.stdout).hexdigest()]) if done and done.returncode == 0 else None


def by_blobferry(binary, files):
    """All files in one run, each in a folder of its own: what each gave, None for one that failed."""
    with tempfile.TemporaryDirectory() as at:
        for number, file in enumerate(files):
            os.makedirs(f"{at}/src/{number}")
            shutil.copyfile(file, f"{at}/src/{number}/{file.name}")
        pathlib.Path(f"{at}/ingest.toml").write_text(
            f'[destination]\nfolder = "out"\n[limits]\narchive_bytes = "300 MiB"\narchive_time = "60s"\n[log]\nfiles = false\n'
            f'[[source]]\nname = "c"\nurl = "file://{at}/src"\nstable_for = "0s"\narchive_depth = 1\n')
        done = subprocess.run([binary, "run", "--json"], cwd=at, capture_output=True, stdin=subprocess.DEVNULL)
        report = json.loads(done.stdout)["sources"][0]
        failed = {line["path"].rsplit("/", 2)[1] for line in report["failures"]}
        internal = [line for line in report["failures"] if line["class"] == "internal"]
        told = sum(report.get("not_unpacked", {}).values())
        gave = [None if str(number) in failed else digests(f"{at}/out/c/{number}") for number in range(len(files))]
        return gave, internal, told


def truth_of(given):
    votes = [tuple(sorted(gave.items())) for name, gave in given.items() if gave is not None and name != "blobferry"]
    best, count = (collections.Counter(votes).most_common(1) or [((), 0)])[0]
    return collections.Counter(dict(best)) if count >= 2 else None


def word(gave, truth, own, others):
    if gave is None:
        return "justly" if truth is None else "unneeded"
    if truth is None:
        return "whole" if gave == own else "alone"
    # Whoever extracts two members of one name keeps one of them: to give both is no fault where one of the others does.
    has_all = not truth - gave and (gave.keys() == truth.keys() or any(gave == other for other in others))
    return "right" if has_all else "whole" if gave == own else "wrong"


class Kept:
    """What other programs gave, by the file's MD5, name and reader: they are slow, and the same at the next run."""
    def __init__(self, path):
        self.path = path
        self.given = json.loads(path.read_text()) if path and path.exists() else {}

    def read(self, name, read, file, own):
        key = f"{own} {file.name} {name}"
        if key not in self.given:
            with tempfile.TemporaryDirectory() as to:
                self.given[key] = read(file, to)
        gave = self.given[key]
        return None if gave is None else collections.Counter(gave)

    def save(self):
        if self.path:
            self.path.write_text(json.dumps(self.given))


def corpus(binary, folder, readers, show, kept):
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".md")
    ours, internal, told = by_blobferry(binary, files)
    table = {name: collections.Counter() for name in ["blobferry", *readers]}
    for file, gave in zip(files, ours):
        own = hashlib.md5(file.read_bytes()).hexdigest()
        given = {"blobferry": gave}
        given |= {name: kept.read(name, read, file, own) for name, read in readers.items()}
        own = collections.Counter([own])
        # Whoever gives the file itself has not read it.
        truth = truth_of({name: gave for name, gave in given.items() if gave != own})
        words = {name: word(gave, truth, own, [other for at, other in given.items() if at != name]) for name, gave in given.items()}
        for name, ended in words.items():
            table[name][ended] += 1
        ended = words["blobferry"]
        if show and (ended in ("wrong", "unneeded") or (ended == "whole" and truth is not None)):
            print(f"  {ended}: {file.relative_to(folder)}", file=sys.stderr)
    return len(files), table, internal, told


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--show", action="store_true", help="name the files that blobferry did not read though others do")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FILE", help="remember what the other programs gave")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    readers = {"python": by_python, "its own program": by_stream}
    readers |= {name: by_extracting(words) for name, words in EXTRACT.items() if shutil.which(words[0])}
    absent = [name for name in EXTRACT if name not in readers]
    words = ["right", "justly", "unneeded", "whole", "wrong", "alone"]
    kept, bad = Kept(options.keep), 0
    for folder in options.folders:
        for part in sorted(child for child in folder.iterdir() if child.is_dir()) or [folder]:
            count, table, internal, told = corpus(os.path.abspath(options.binary), part, readers, options.show, kept)
            kept.save()
            print(f"\n### {part.name}: {count} files, {told} told as not unpacked\n\n| reader | {' | '.join(words)} |\n|---|{'---:|' * len(words)}")
            for name, counts in table.items():
                print(f"| {name} | {' | '.join(str(counts[word]) for word in words)} |", flush=True)
            bad += table["blobferry"]["wrong"] + len(internal)
    if absent:
        print(f"\nNot there: {', '.join(absent)}.")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
