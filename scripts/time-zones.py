#!/usr/bin/env python3
"""When cron expressions are due in every time zone, by Python's zoneinfo and nothing of ours.

Writes tests/it/data/time-zones.txt, which `cargo test time_zones` compares with the program: for
ten years, around every change of the clocks of every zone, the times at which a few expressions
are due. A line is a digest of these times and the zones that have them in common.
`scripts/time-zones.py ZONE` prints the times themselves.

Needs the tzdata of the version that the program was built with (the first line of the file); it is
read from /usr/share/zoneinfo.
"""

import hashlib
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

# Minutes, hours, weekdays (0 is Sunday; None is each), and whether the expression follows the clock.
EXPRESSIONS = {
    "30 2 * * *": ([30], [2], None, False),
    "0 0 * * *": ([0], [0], None, False),
    "15,45 1-3 * * *": ([15, 45], [1, 2, 3], None, False),
    "30 2,14 * * 0": ([30], [2, 14], [0], False),
    "*/15 1-3 * * *": (range(0, 60, 15), [1, 2, 3], None, True),
    "0 * * * *": ([0], range(24), None, True),
}
# Names that stand for no zone: what a machine is set to, and what it was before that.
NO_ZONES = {"localtime", "posixrules", "Factory"}
FIRST = datetime(2021, 1, 1, tzinfo=timezone.utc)
LAST = datetime(2031, 1, 1, tzinfo=timezone.utc)
AROUND = timedelta(hours=6)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def offset(zone, at):
    return at.astimezone(zone).utcoffset()


def change_between(zone, old, new):
    """The first second with another offset than `old` has; `new` has another one."""
    before = offset(zone, old)
    while new - old > SECOND:
        middle = old + (new - old) // 2
        middle = middle.replace(microsecond=0)
        if offset(zone, middle) == before:
            old = middle
        else:
            new = middle
    return new


def changes(zone):
    at, found = FIRST, []
    while at < LAST:
        if offset(zone, at) != offset(zone, at + DAY):
            found.append(change_between(zone, at, at + DAY))
        at += DAY
    return found


def instant(zone, local):
    """When clocks show `local`: the first time of two; the end of a gap."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(timezone.utc)
    if first.astimezone(zone).replace(tzinfo=None) == local:
        return first
    second = local.replace(tzinfo=zone, fold=1).astimezone(timezone.utc)
    return change_between(zone, min(first, second) - SECOND, max(first, second))


def weekday(date):
    return (date.weekday() + 1) % 7


def due(zone, expression, begin, end):
    minutes, hours, weekdays, follows = EXPRESSIONS[expression]
    found = set()
    if follows:
        at = begin
        while at < end:
            local = at.astimezone(zone)
            if local.second == 0 and local.minute in minutes and local.hour in hours:
                if weekdays is None or weekday(local) in weekdays:
                    found.add(at)
            at += MINUTE
    else:
        date = (begin - 3 * DAY).replace(hour=0, minute=0, second=0, tzinfo=None)
        while date < (end + 3 * DAY).replace(tzinfo=None):
            if weekdays is None or weekday(date) in weekdays:
                for hour in hours:
                    for minute in minutes:
                        at = instant(zone, date.replace(hour=hour, minute=minute))
                        if begin <= at < end:
                            found.add(at)
            date += DAY
    return sorted(found)


def lines_of(name):
    zone = ZoneInfo(name)
    moments = sorted([datetime(2026, 1, 15, tzinfo=timezone.utc)] + changes(zone))
    for moment in moments:
        begin, end = moment - AROUND, moment + AROUND
        for expression in EXPRESSIONS:
            times = " ".join(str(int(at.timestamp())) for at in due(zone, expression, begin, end))
            yield f"{int(begin.timestamp())} {int(end.timestamp())} {expression}: {times}\n"


def main():
    if len(sys.argv) > 1:
        print("".join(lines_of(sys.argv[1])), end="")
        return
    version = Path("/usr/share/zoneinfo/tzdata.zi").read_text().split("\n", 1)[0].split()[-1]
    digests, files = {}, {}
    for name in sorted(available_timezones() - NO_ZONES):
        data = Path("/usr/share/zoneinfo", name).read_bytes()
        if data not in files:
            text = "".join(lines_of(name))
            windows = " ".join(sorted({line.split()[0] for line in text.splitlines()}, key=int))
            files[data] = (hashlib.sha256(text.encode()).hexdigest()[:32], windows)
        digests.setdefault(files[data], []).append(name)
    path = Path(__file__).parent.parent / "tests/it/data/time-zones.txt"
    path.parent.mkdir(exist_ok=True)
    rows = [
        f"{digest} {' '.join(names)}: {windows}\n" for (digest, windows), names in digests.items()
    ]
    path.write_text(f"tzdata {version}\n" + "".join(rows))
    print(f"{len(files)} kinds of zones, {len(digests)} lines, {path.stat().st_size} bytes")


main()
