"""Compares the corpus of listings with parsers of other projects; see scripts/listings.sh."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import aioftp
import ftputil.error
import ftputil.stat

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests/fixtures/listings.txt"
KNOWN = ROOT / "scripts/listings.known"


def corpus():
    """Lines as bytes, with what the corpus says of each: kind, size or None, name."""
    line = None
    for text in CORPUS.read_text().splitlines():
        if text.startswith("> "):
            raw = re.sub(r"\\t|\\x([0-9a-f]{2})", lambda found: "\t" if found[0] == "\\t" else chr(int(found[1], 16)), text[2:])
            line = raw.encode("latin-1")
        elif text.startswith("= "):
            words = text[2:].split(" ", 3)
            if len(words) == 4:
                size = None if words[1] == "-" else int(words[1])
                name = re.sub(r"\\x([0-9a-f]{2})|\\t", lambda found: "\t" if found[0] == "\\t" else chr(int(found[1], 16)), words[3])
                yield line, (words[0], size, name.encode("latin-1"))
            else:
                yield line, (words[0], None, b"")


def text_of(line):
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


CLIENT = aioftp.Client()


def by_aioftp(parse):
    def read(line):
        try:
            path, facts = parse(line)
        except Exception:  # a parser may end in any error on what it does not read
            return None
        kind = {"file": "file", "dir": "folder", "link": "link"}.get(facts.get("type"))
        return kind and {"kind": kind, "size": int(facts.get("size", 0)), "name": str(path)}

    return read


def by_ftputil(parser):
    def read(line):
        try:
            stat = parser.parse_line(text_of(line), 0.0)
        except (ftputil.error.ParserError, ValueError, IndexError, KeyError, OverflowError):
            return None
        kind = {0o040000: "folder", 0o120000: "link", 0o100000: "file"}.get(stat.st_mode & 0o170000)
        return kind and {"kind": kind, "size": stat.st_size, "name": stat._st_name}

    return read


PARSERS = {
    "aioftp unix": by_aioftp(CLIENT.parse_list_line_unix),
    "aioftp windows": by_aioftp(CLIENT.parse_list_line_windows),
    "ftputil unix": by_ftputil(ftputil.stat.UnixParser()),
    "ftputil ms": by_ftputil(ftputil.stat.MSParser()),
}


def differs(ours, theirs):
    """In what another parser's reading is another one; nothing where it reads the same."""
    kind, size, name = ours
    found = []
    if kind in ("nothing", "unparsed"):
        return ["read as " + theirs["kind"]]
    if kind != "untold" and theirs["kind"] != kind:
        found.append(f"kind {theirs['kind']}")
    if kind == "file" and size is not None and theirs["size"] not in (None, size):
        found.append(f"size {theirs['size']}")
    if theirs["name"].strip() != text_of(name).strip():
        found.append(f"name {theirs['name']!r}")
    return found


def main(words):
    lines = list(corpus())
    asked = json.dumps([text_of(line) for line, _ in lines])
    node = subprocess.run(["node", str(ROOT / "scripts/listings.js")], input=asked, capture_output=True, text=True, check=True)
    told = json.loads(node.stdout)
    known = set(KNOWN.read_text().splitlines()) if KNOWN.exists() else set()
    tally, new, seen, covered = {}, [], [], 0
    for (line, ours), by_node in zip(lines, told):
        readings = {name: parse(line) for name, parse in PARSERS.items()} | by_node
        covered += any(readings.values())
        for name, theirs in readings.items():
            read, equal = tally.get(name, (0, 0))
            if not theirs:
                tally[name] = (read, equal)
                continue
            difference = differs(ours, theirs)
            tally[name] = (read + 1, equal + (not difference))
            if difference:
                row = f"{name}: {', '.join(difference)}: {text_of(line)!r}"
                seen.append(row)
                if row not in known:
                    new.append(row)
    for name, (read, equal) in tally.items():
        print(f"{name}: reads {read} of {len(lines)}, {equal} as we do")
    print(f"lines that at least one of them reads: {covered} of {len(lines)}")
    if "--write" in words:
        KNOWN.write_text("\n".join(seen) + "\n")
        return 0
    for row in new:
        print("NEW", row)
    print(f"read in another way: {len(seen)}, of which {len(new)} are not in {KNOWN.name}")
    return int(bool(new))


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    sys.exit(main(sys.argv[1:]))
