"""Thirty days of deliveries to real servers on a clock of their own; see scripts/deliveries.sh.

The program runs under libfaketime, from the night in which Sydney's clocks go forward to that in which New York's go
back, Berlin's in between. Files come on time, late, never, empty, twice, unreadable; servers are down, runs are missed
for days, runs are killed. What each expectation must say is computed here, by Python's zoneinfo and by the bytes that
lie in the destination after each run, from what docs/landing-zone.md promises. Nothing of the program's own state is
read for it.
"""

import fnmatch
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "bench"))
from servers import PASSWORD, Servers, _end, _wait_for  # noqa: E402

BF = os.environ["BF"]
TOOLS = os.environ["BLOBFERRY_TEST_TOOLS"]
FAKETIME = os.environ["FAKETIME_LIBRARY"]
UTC = timezone.utc
BEGIN = datetime(2026, 10, 3, 10, 7, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# No deadline and no end of a grace is so near to a look that a slow run reaches it.
LOOKS = [(hour, minute) for hour in range(24) for minute in (7, 37)
         if minute == 7 and hour % 2 == 0 or hour in (0, 1, 2, 5, 6, 7, 8, 14, 15, 16, 17)]
REACH = 8 * DAY


def instant(local, zone):
    """The later of two, and in a gap the first instant after it."""
    at = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == local:
        return at
    low, high = at - DAY, at + DAY
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (middle, high) if middle.astimezone(zone).replace(tzinfo=None) < local else (low, middle)
    return high


@dataclass
class Arrival:
    path: str
    size: int
    delivered: datetime
    content: bytes
    # Between these two it was stored; the same but for files of killed runs.
    first: datetime = None
    last: datetime = None


@dataclass
class Window:
    start: datetime
    deadline: datetime
    end: datetime
    local: datetime


@dataclass
class Expected:
    name: str
    source: str
    glob: str
    zone: str
    hour: int
    minute: int
    grace: timedelta = timedelta()
    least: int = 1
    most: int = None
    small: int = 0
    span: timedelta = None
    days: tuple = tuple(range(7))
    but: tuple = ()
    age: timedelta = None
    is_error: bool = True

    def dated(self):
        return "%" in self.glob

    def deadlines(self):
        """All of them around the month, in order."""
        zone, day, found = ZoneInfo(self.zone), datetime(2026, 9, 20), []
        while day < datetime(2026, 11, 20):
            if day.weekday() in self.days and day.date().isoformat() not in self.but:
                local = day.replace(hour=self.hour, minute=self.minute)
                found.append((instant(local, zone), local))
            day += DAY
        return found

    def windows(self, now):
        known, found = self.deadlines(), []
        for (before, _), (deadline, local) in zip(known, known[1:]):
            start = deadline - self.span if self.span else max(before, deadline - 7 * DAY)
            if self.dated():
                start = min(start, deadline - 7 * DAY)
            found.append(Window(start, deadline, deadline + self.grace, local))
            if deadline > now:
                break
        return found

    def wants(self, path, local):
        return fnmatch.fnmatchcase(path, local.strftime(self.glob) if self.dated() else self.glob)

    def judge(self, arrivals, now, stored):
        """(window, state, lacks, came late at) of each window up to the open one. `stored` tells when a file was."""
        all_of = sorted((stored(one), one.path, one.size) for one in arrivals if one.first and stored(one) <= now)
        judged, taken = [], set()
        for window in self.windows(now):
            of = [one for one in all_of if self.wants(one[1], window.local) and one[0] > window.start and one not in taken]
            large = [one for one in of if one[2] >= self.small]
            on_time = [one for one in large if one[0] <= window.deadline]
            within = [one for one in large if one[0] <= window.end]
            counted = on_time if len(on_time) >= self.least else within
            came = large[self.least - 1][0] if len(large) >= self.least else None
            many = self.most is not None and len(counted) > self.most
            if many:
                state = "missed"
            elif came and came <= window.end:
                state = "met"
            else:
                state = "due" if now <= window.deadline else "late" if now <= window.end else "missed"
            lacks = None if state in ("met", "due") else "too_many" if many else "too_few"
            later = came if state == "missed" and not many else None
            judged.append((window, state, lacks, later))
            taken = set()
            if not self.dated() and len(on_time) < self.least:
                taken = set([one for one in within if one not in on_time][: self.least - len(on_time)])
        return judged


EXPECTED = [
    Expected("daily", "berlin", "sales_%Y%m%d.csv", "Europe/Berlin", 2, 30, 45 * MINUTE, most=1, but=("2026-10-17",)),
    Expected("nightly", "sydney", "n_*.csv", "Australia/Sydney", 2, 15, 30 * MINUTE, small=1),
    Expected("fresh", "sydney", "n_*.csv", "UTC", 0, 0, age=1580 * MINUTE, is_error=False),
    Expected("pair", "york", "p_*.csv", "America/New_York", 1, 30, HOUR, least=2, most=2, span=24 * HOUR),
    Expected("weekly", "york", "w_*.csv", "America/New_York", 7, 0, days=(0, 3)),
]


def configuration(servers):
    key = f'private_key_file = "{servers.inside("user_key")}"\nhost_key = "{servers.host_key}"\n'
    text = '[destination]\nfolder = "stored"\n'
    for name in ("berlin", "sydney", "york"):
        if name == "sydney":
            url, login = f"ftp://anonymous@127.0.0.1:{servers.ftp}/{name}", f'password = "{PASSWORD}"\n'
        else:
            url, login = f"sftp://{servers.user}@127.0.0.1:{servers.ssh}{servers.data}/{name}", key
        zone = next(of.zone for of in EXPECTED if of.source == name)
        text += f'\n[[source]]\nname = "{name}"\nurl = "{url}"\n{login}time_zone = "{zone}"\n'
        text += 'stable_for = "0s"\nattempts = 1\nretry_auth_after = "0s"\n'
        for of in (of for of in EXPECTED if of.source == name):
            glob = of.glob.replace("%Y%m%d", "{yyyyMMdd}")
            text += f'\n[[source.expect]]\nname = "{of.name}"\nfiles = ["{glob}"]\nmin_count = {of.least}\n'
            text += f"max_count = {of.most}\n" if of.most else ""
            text += f'min_size = "{of.small} B"\n' if of.small else ""
            text += "" if of.is_error else 'severity = "warn"\n'
            if of.age:
                text += f'max_age = "{of.age // MINUTE}m"\n'
                continue
            # Every other one by cron: both must mean the same.
            text += f'cron = "{of.minute} {of.hour} * * *"\n' if of.name == "pair" else f'by = "{of.hour:02}:{of.minute:02}"\n'
            text += f'grace = "{of.grace // MINUTE}m"\n'
            text += f'window = "{of.span // HOUR}h"\n' if of.span else ""
            text += f"except = {json.dumps(list(of.but))}\n" if of.but else ""
            text += 'days = "mon,thu"\n' if of.days == (0, 3) else ""
    return text


def calendar(chance, days):
    """(when, what, source, name, size): what partners do, in order."""
    found, last = [], BEGIN + days * DAY

    def send(at, of, name, size=None):
        if BEGIN + 5 * MINUTE < at < last:
            found.append((at, "send", of.source, name, chance.randrange(1, 3000) if size is None else size))

    for of in EXPECTED:
        if of.age:
            continue
        for number, (deadline, local) in enumerate(of.deadlines()):
            # Only a server whose user is not root can be kept from reading.
            kind = chance.choices(["on time", "early", "late", "too late", "never", "empty", "twice", "unreadable"],
                                  [50, 6, 10, 8, 6, 8, 8, 12 if of.source == "sydney" else 0])[0]
            at = {"early": deadline - 3 * DAY if of.dated() else deadline - 10 * HOUR, "late": deadline + of.grace * 0.4,
                  "too late": deadline + of.grace + chance.randrange(30, 600) * MINUTE}.get(
                      kind, deadline - chance.randrange(40, 200) * MINUTE)
            if kind == "never":
                continue
            stem = local.strftime(of.glob) if of.dated() else of.glob.replace("*", f"{number:03}")
            for copy in range(of.least):
                send(at + copy * MINUTE, of, stem.replace(".csv", f"-{copy}.csv") if of.least > 1 else stem,
                     0 if kind == "empty" else None)
            if kind == "twice":
                # Another version of a dated file, else another file.
                again = stem if of.dated() else stem.replace(".csv", "-again.csv")
                send(at + chance.choice([20, 300]) * MINUTE, of, again)
            if kind == "unreadable":
                found.append((at + MINUTE // 2, "lock", of.source, stem, 0))
                found.append((at + chance.choice([4, 30]) * HOUR, "unlock", of.source, stem, 0))
    down = BEGIN.replace(hour=4) + 8 * DAY
    if days > 9:
        found += [(down, "down", "", "", 0), (down + 4 * HOUR, "up", "", "", 0)]
    return sorted(event for event in found if event[0] < last)


@dataclass
class Month:
    work: pathlib.Path
    chance: random.Random
    servers: Servers
    wrong: list = field(default_factory=list)
    seen: Counter = field(default_factory=Counter)
    arrivals: dict = field(default_factory=lambda: {of.source: [] for of in EXPECTED})
    locked: set = field(default_factory=set)
    is_down: bool = False
    since: datetime = None
    took: float = 0.3
    must: set = field(default_factory=set)
    may: set = field(default_factory=set)
    looked: dict = field(default_factory=dict)

    def hold(self, what, truth):
        if not truth:
            self.wrong.append(what)
            print(f"WRONG: {what}", flush=True)

    def call(self, now, *words, kill=None):
        """The program at `now`: status and what it printed; None if it was killed after so many seconds."""
        fake = {"LD_PRELOAD": FAKETIME, "FAKETIME": now.strftime("@%Y-%m-%d %H:%M:%S"), "TZ": "UTC",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        begun = time.monotonic()
        process = subprocess.Popen([BF, *words, "--config", "ingest.toml"], cwd=self.work, env={**os.environ, **fake},
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=kill or 300)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.hold(f"{now}: a run takes longer than 300 s", kill)
            return None, "", ""
        if words[0] == "run":
            self.took = time.monotonic() - begun
        return process.returncode, out, err

    def play(self, event):
        at, what, source, name, size = event
        self.seen[what] += 1
        path = pathlib.Path(self.servers.data) / source / name
        if what == "send":
            head = f"{source} {name} {at} ".encode()
            content = (head + self.chance.randbytes(size)) if size else b""
            part = path.with_name(name + ".part")
            part.write_bytes(content)
            os.utime(part, (at.timestamp(), at.timestamp()))
            part.replace(path)
            path.chmod(0o644)
            self.locked.discard((source, name))
            self.arrivals[source].append(Arrival(name, len(content), at, content))
        elif what == "lock" and path.exists() and not self.is_stored(source, name):
            path.chmod(0)
            self.locked.add((source, name))
            self.seen["kept from being read"] += 1
        elif what == "unlock" and (source, name) in self.locked:
            path.chmod(0o644)
            self.locked.discard((source, name))
        elif what == "down":
            _end(next(process for process, name in self.servers.processes if name == "sshd"))
            self.is_down = True
        elif what == "up":
            self.servers._sshd()
            _wait_for(self.servers.ssh)
            self.is_down = False

    def is_stored(self, source, name):
        return any(one.first for one in self.arrivals[source] if one.path == name)

    def find(self, now, is_killed):
        """Looks for what has come to lie in the destination."""
        for source, all_of in self.arrivals.items():
            waiting = [one for one in all_of if not one.first or not one.last]
            if not waiting:
                continue
            folder = self.work / "stored" / source
            files = [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
            # A later version has a name of its own, which begins as the first one's.
            contents = {(file.name, file.read_bytes()) for file in files}
            for one in waiting:
                stem = one.path.removesuffix(".csv")
                if any(name.startswith(stem) and content == one.content for name, content in contents):
                    one.first = one.first or now
                    one.last = None if is_killed else now
                    self.seen["stored by a run that was killed"] += is_killed

    def replaced(self, source, one):
        """A newer version came before a run could see this one."""
        return any(other.path == one.path and other.delivered > one.delivered for other in self.arrivals[source])

    def judged(self, of, now):
        """What must be so: once with each bound of the times at which files were stored."""
        both = []
        for bound in (lambda one: one.first, lambda one: one.last or now):
            if of.age:
                stored = [bound(one) for one in self.arrivals[of.source] if one.first and of.wants(one.path, now)]
                both.append("met" if stored and max(stored) + of.age >= now else "missed")
            else:
                both.append([one for one in of.judge(self.arrivals[of.source], now, bound)
                             if one[0].deadline > self.since or one[1] == "met"])
        return both

    def compare(self, now, source, standings, is_run):
        for of in (of for of in EXPECTED if of.source == source):
            told = next(one for one in standings if one["name"] == of.name)
            both = self.judged(of, now)
            self.seen["judgements compared"] += 1
            if of.age:
                self.hold(f"{now} {source}/{of.name}: {told['state']}, not {both[0]}", told["state"] in both)
                self.seen[f"{of.name} {told['state']}"] += 1
                continue
            allowed = []
            for judged in both:
                over = [one for one in judged if one[0].deadline <= now]
                window, state, lacks, later = over[-1] if over else judged[-1]
                allowed.append((window.deadline, state, lacks, bool(later)))
                self.standing[of.name] = (state, later, of.is_error)
            is_small = told.get("unmet") == "too_small"
            lacks = "too_few" if is_small else told.get("unmet")
            deadline = datetime.fromisoformat(told["deadline"].replace("Z", "+00:00"))
            found = (deadline, told["state"], lacks, "recovered_at" in told)
            self.hold(f"{now} {source}/{of.name}: {found}, not {allowed}", found in allowed)
            if is_small:
                self.hold(f"{now} {of.name}: too small, and no empty file came", of.small and any(
                    not one.size for one in self.arrivals[source]))
            self.seen[f"{of.name} {told['state']}" + (" and came" if found[3] else "")] += 1
            if "why" in told:
                self.why(now, source, of, told, deadline, is_run)

    def why(self, now, source, of, told, deadline, is_run):
        is_hidden = any((source, one.path) in self.locked and of.wants(one.path, deadline.astimezone(ZoneInfo(of.zone)))
                        for one in self.arrivals[source])
        looked = self.looked.get(source)
        if is_hidden and looked and looked[1]:
            allowed = {"failed", "deferred"}
        elif looked and looked[0] >= deadline:
            allowed = {"not_listed" if looked[1] else "listing_failed"}
        else:
            allowed = {"not_looked"}
        self.seen[f"why: {told['why']}"] += 1
        self.hold(f"{now} {source}/{of.name}: because of {told['why']}, not {allowed}", told["why"] in allowed)

    def transitions(self, now, is_sure):
        """Each change of a window is one blob."""
        for of in EXPECTED:
            if of.age:
                continue
            both = []
            for judged in self.judged(of, now):
                names = set()
                for window, state, _, later in judged:
                    if window.deadline > self.since and window.deadline >= now - REACH:
                        stem = f"{of.source}/{of.name}/{window.deadline:%Y%m%dT%H%M%SZ}"
                        names |= {f"{stem}.{state}"} if state != "due" else set()
                        names |= {f"{stem}.recovered"} if later else set()
                both.append(names)
            self.may |= both[0] | both[1]
            if is_sure:
                self.must |= both[0] & both[1]

    def look(self, now, kill=None):
        self.since = self.since or now
        self.standing = {}
        code, out, err = self.call(now, "run", "--json", kill=kill)
        self.find(now, code is None)
        if code is None:
            self.seen["killed"] += 1
            self.transitions(now, False)
            return
        self.seen["runs"] += 1
        if not out.startswith("{"):
            self.hold(f"{now}: status {code}: {out} {err}", False)
            return
        report = json.loads(out)
        for source in report["sources"]:
            is_whole = not (self.is_down and source["source"] != "sydney")
            self.looked[source["source"]] = (now, is_whole)
            self.compare(now, source["source"], source["expectations"], True)
        self.hold(f"{now}: {len(report['sources'])} sources", len(report["sources"]) == 3)
        self.transitions(now, True)
        is_missed = any(state == "missed" and not later and is_error for state, later, is_error in self.standing.values())
        is_well = not is_missed and not self.locked and not self.is_down
        self.hold(f"{now}: status {code}, missed {is_missed}, locked {self.locked}, down {self.is_down}", (code == 0) == is_well)
        for source, all_of in self.arrivals.items():
            for one in all_of:
                is_kept = (source, one.path) in self.locked or self.is_down and source != "sydney" or self.replaced(source, one)
                if not one.first and one.delivered < now and not is_kept:
                    self.hold(f"{now}: {source}/{one.path} of {one.delivered} is not stored", False)

    def ask(self, now):
        """No run is made; expectations are judged all the same."""
        self.since = self.since or now
        self.standing = {}
        code, out, err = self.call(now, "expect", "--json")
        self.seen["asked without a run"] += 1
        if not out.startswith("{"):
            self.hold(f"{now}: expect: status {code}: {out} {err}", False)
            return
        for source in json.loads(out)["sources"]:
            self.compare(now, source["source"], source["expectations"], False)
        self.transitions(now, True)

    def end(self):
        folder, found = self.work / "stored/_blobferry", set()
        for file in folder.glob("*/expect/*/*.json"):
            source, name = file.relative_to(folder).parts[0], file.parent.name
            if name != "fresh":
                found.add(f"{source}/{name}/{file.name.removesuffix('.json')}")
        self.hold(f"changes that are not written: {sorted(self.must - found)}", self.must <= found)
        self.hold(f"changes that were none: {sorted(found - self.may)}", found <= self.may)
        self.seen["changes of windows"] = len(found)
        alerts = Counter()
        for log in (self.work / "log").glob("error*"):
            for line in log.read_text().splitlines():
                if "An expected file is missing." in line and "Warning" not in line:
                    told = json.loads(line) if line.startswith("{") else dict(part.split("=", 1) for part in line.split() if "=" in part)
                    key = [str(told[word]).strip('"') for word in ("source", "expectation", "deadline")]
                    alerts["/".join(key)] += 1
        missed = {name.removesuffix(".missed") for name in found if name.endswith(".missed")}
        self.hold(f"alerts that came twice: {[key for key, times in alerts.items() if times > 1]}", all(n == 1 for n in alerts.values()))
        self.hold(f"alerts of nothing: {set(alerts) - missed}", set(alerts) <= missed)
        # A run that is killed between the change and its alert alerts nobody, as the page says.
        silent = missed - set(alerts)
        self.hold(f"no alert: {sorted(silent)}", len(silent) <= self.seen["killed"])
        self.seen["alerts"], self.seen["killed before their alert"] = len(alerts), len(silent)
        code, out, _ = self.call(BEGIN + 40 * DAY, "audit", "--download")
        self.hold(f"audit: status {code}: {out[-2000:]}", code == 0)


def main(words):
    days = int(words[0]) if words else 30
    seed = int(words[1]) if len(words) > 1 else random.randrange(1 << 32)
    print(f"deliveries: {days} days, seed {seed}", flush=True)
    chance, begun = random.Random(seed), time.monotonic()
    work = pathlib.Path(tempfile.mkdtemp(prefix="blobferry-deliveries-"))
    os.chmod(work, 0o755)
    servers = Servers(TOOLS, {}, str(work / "servers"), str(work / "served"))
    for source in ("berlin", "sydney", "york"):
        (work / "served" / source).mkdir(parents=True)
    month = Month(work, chance, servers)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("deliveries: stopped"))
    try:
        servers._sshd()
        servers._vsftpd("vsftpd", servers.ftp, servers.passive, "127.0.0.1")
        _wait_for(servers.ssh)
        _wait_for(servers.ftp)
        (work / "ingest.toml").write_text(configuration(servers))
        events = calendar(chance, days)
        off = (BEGIN + 12 * DAY, BEGIN + 15 * DAY + 3 * HOUR)
        now = BEGIN
        while now < BEGIN + days * DAY:
            while events and events[0][0] <= now:
                month.play(events.pop(0))
            if (now.hour, now.minute) in LOOKS:
                if off[0] <= now < off[1]:
                    # On the last of these days not even expectations are judged.
                    if now < off[1] - DAY:
                        month.ask(now)
                elif chance.random() < 0.06:
                    month.look(now, kill=chance.uniform(0.2, 1.0) * month.took)
                elif chance.random() < 0.1:
                    month.ask(now)
                else:
                    month.look(now)
            now += MINUTE
            if not (now - BEGIN) % DAY:
                print(f"  {now:%d %b}: {sum(month.seen.values())} seen, {len(month.wrong)} wrong", flush=True)
        month.end()
    finally:
        servers.stop()
        if month.wrong:
            print(f"deliveries: its folder is kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    for what, times in sorted(month.seen.items()):
        print(f"{times:6} {what}")
    print(f"deliveries: {len(month.wrong)} wrong, {time.monotonic() - begun:.0f} s, seed {seed}")
    return int(bool(month.wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
