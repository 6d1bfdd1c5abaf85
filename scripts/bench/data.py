"""The files that are brought over, the same bytes on every machine, and what must be found of them afterwards."""

import calendar
import hashlib
import io
import json
import os
import random
import shutil
import zipfile

KIB, MIB = 1 << 10, 1 << 20
WORDS = "alpha beta gamma delta value error index server blob time size name total north south 2024 0.0 42 none true".split()
BEGAN = calendar.timegm((2025, 1, 1, 0, 0, 0))
LAYOUT = 2  # raise it when the same name means other bytes


class DataSet:
    """A folder of files. `expected` counts (size, SHA-256) of everything that must arrive; `files` is what lies there."""

    def __init__(self, name, path, files, expected):
        self.name, self.path, self.files, self.expected = name, path, files, expected

    def bytes(self):
        return sum(size * count for (size, _), count in self.expected.items())


def make(name, folder):
    """The data set `name` below `folder`, made once. A name is kind-count-size, as in `plain-2000-20k`."""
    path, manifest = os.path.join(folder, name), os.path.join(folder, name + ".json")
    known = _load(manifest)
    if known is None or known["layout"] != LAYOUT or not os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        known = {"layout": LAYOUT, "files": 0, "expected": {}}
        for relative, data, contents in _files(name):
            _write(os.path.join(path, relative), data)
            known["files"] += 1
            for content in contents:
                key = f"{len(content)} {hashlib.sha256(content).hexdigest()}"
                known["expected"][key] = known["expected"].get(key, 0) + 1
        with open(manifest, "w", encoding="utf-8") as out:
            json.dump(known, out)
    expected = {(int(key.split()[0]), key.split()[1]): count for key, count in known["expected"].items()}
    return DataSet(name, path, known["files"], expected)


def _load(manifest):
    try:
        with open(manifest, encoding="utf-8") as text:
            return json.load(text)
    except (OSError, ValueError):
        return None


def _write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(data)
    seed = random.Random(path.rsplit("/", 1)[-1])
    when = BEGAN - seed.randrange(300 * 86400)
    os.utime(path, (when, when))


def _files(name):
    """(relative path, bytes, what must arrive of it) for each file."""
    kind, *numbers = name.split("-")
    rng = random.Random(name)
    if kind == "plain":  # plain-COUNT-SIZE
        count, size = int(numbers[0]), _size(numbers[1])
        for index in range(count):
            data = _random(rng, size)
            yield f"{index // 100:02}/file-{index:05}.bin", data, [data]
    elif kind == "stored":  # stored-COUNT-SIZE: archives with one member that does not compress
        count, size = int(numbers[0]), _size(numbers[1])
        for index in range(count):
            data = _random(rng, size)
            yield f"stored-{index:03}.zip", _zip([(f"reading-{index:03}.bin", data)], zipfile.ZIP_STORED), [data]
    elif kind == "deflated":  # deflated-ARCHIVES-MEMBERS-SIZE: archives of text
        archives, members, size = int(numbers[0]), int(numbers[1]), _size(numbers[2])
        for index in range(archives):
            contents = [_text(rng, size) for _ in range(members)]
            named = [(f"{index:02}/table-{number:05}.csv", content) for number, content in enumerate(contents)]
            yield f"deflated-{index:03}.zip", _zip(named, zipfile.ZIP_DEFLATED), contents
    else:
        raise ValueError(f"no such data set: {name}")


def _random(rng, size):
    """Bytes that do not compress, by the MiB: Python's generator makes less than 256 MiB at once."""
    return b"".join(rng.randbytes(min(MIB, size - made)) for made in range(0, size, MIB))


def _size(text):
    return int(text[:-1]) * {"b": 1, "k": KIB, "m": MIB}[text[-1]]


def _text(rng, size):
    """Text that deflates to about a quarter. A large one repeats a page of 1 MiB with a counter, for the time to make it."""
    page = min(size, MIB)
    words = []
    length = 0
    while length < page:
        words.append(rng.choice(WORDS))
        length += len(words[-1]) + 1
    text = " ".join(words).encode()[:page]
    pages = (b"%08d" % number + text[8:] for number in range((size + page - 1) // page))
    return b"".join(pages)[:size]


def _zip(members, method):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0)), content, compress_type=method, compresslevel=6)
    return out.getvalue()
