"""Results as tables, as JSON, and the growth curves as a picture."""

import datetime
import json
import os
import platform
import statistics
import subprocess

import growth

PRODUCT = "blobferry"
MIB = 1 << 20
PICTURE = "benchmarks-growth.svg"
AXES = {"files": "files of 20 KiB", "connections": "connections"}


def machine(versions, arguments):
    """What the numbers were measured on and with."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) >> 20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "cpu": cpu, "cores": os.cpu_count(), "memory_gib": memory,
            "kernel": platform.release(), "load": round(os.getloadavg()[2], 1), "python": platform.python_version(),
            "versions": versions, "rounds": arguments.rounds, "scale": arguments.scale}


def _lines(path):
    with open(path, encoding="utf-8") as file:
        return file.readlines()


def commit():
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=os.path.dirname(__file__), check=False)
    return asked.stdout.strip() or "unknown"


def write(folder, about, rows, results):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "benchmarks.json"), "w", encoding="utf-8") as out:
        json.dump({"machine": about, "rows": results, "growth": curves(rows, results)}, out, indent=1)
        out.write("\n")
    if drawn := curves(rows, results):
        with open(os.path.join(folder, PICTURE), "w", encoding="utf-8") as out:
            out.write(growth.picture(drawn))
    with open(os.path.join(folder, "benchmarks.md"), "w", encoding="utf-8") as out:
        out.write(tables(about, rows, results))


def renew(folder, about, rows, results):
    """Puts rows that were measured again into what the last whole run wrote."""
    with open(os.path.join(folder, "benchmarks.json"), encoding="utf-8") as file:
        last = json.load(file)
    found = {result["row"]: result for result in last["rows"] + results}
    again = {result["row"]: f"{about['date']}, commit {about['commit']}" for result in results}
    machine = {**last["machine"], "again": {**last["machine"].get("again", {}), **again}}
    write(folder, machine, rows, [found[row.name] for row in rows])


def one(run):
    verdict = run["failure"] or "whole"
    return f"{run['wall']:.2f} s, {run['cpu']:.2f} CPU s, PSS {run['pss'] / MIB:.0f} MiB, HWM {run['hwm'] / MIB:.0f} MiB, machine {run['busy']:.0%} busy: {verdict}"


def tables(about, rows, results):
    text = [_head(about)]
    for row, result in zip(rows, results):
        if not row.curve:
            text.append(_table(row, result, about["scale"]))
    if drawn := curves(rows, results):
        text.append(_growth(drawn))
    return "\n".join(text)


def curves(rows, results):
    """The growth curves that these rows are points of: medians, least and most of the runs that arrived whole, in seconds."""
    found = {}
    for row, result in zip(rows, results):
        if row.curve:
            title = "SFTP on the same machine, default connections" if row.curve == "files" else f"{result['files']:,} files by SFTP, {row.rtt} ms round trip"
            curve = found.setdefault(row.curve, {"curve": row.curve, "title": title, "x": AXES[row.curve], "series": {PRODUCT: [], "rclone": []}})
            for name in {**result["runs"], **result["absent"]}:
                series = PRODUCT if name == PRODUCT else "rclone"
                curve["series"][series].append({"x": row.at or result["files"], "contestant": name, **_point(result["runs"].get(name, []), result["absent"].get(name))})
    return list(found.values())


def _point(runs, absent):
    good = [run for run in runs if not run["failure"]]
    middle = medians(runs) or {}
    walls = [run["wall"] for run in good]
    return {"wall": middle.get("wall"), "least": min(walls, default=None), "most": max(walls, default=None), "cpu": middle.get("cpu"),
            "whole": absent or _whole(runs)}


def _growth(drawn):
    lines = ["\n## How it grows\n", f"![Wall time of blobferry and rclone]({PICTURE})\n",
             "Every point is the median of its rounds, and every byte of them is compared, as above. By files: both as they come, blobferry with two connections,",
             "rclone with four transfers. By connections: `connections = N` for blobferry, `--transfers N --checkers N` for rclone, which has a connection for",
             "each of them at work: its own cap, `--sftp-connections`, is “very likely to cause deadlocks” as its manual says."]
    for curve in drawn:
        lines += ["", f"{curve['title']}:\n", f"| {curve['x']} | blobferry s (min–max) | rclone s (min–max) | blobferry ÷ rclone | CPU s | CPU s of rclone | arrived whole |",
                  "|---|---|---|---|---|---|---|"]
        points = {name: {point["x"]: point for point in series} for name, series in curve["series"].items()}
        for x in sorted({x for series in points.values() for x in series}):
            ours, theirs = points[PRODUCT].get(x), points["rclone"].get(x)
            ratio = f"{ours['wall'] / theirs['wall']:.2f}" if ours and theirs and ours["wall"] and theirs["wall"] else ""
            cpu = [f"{point['cpu']:.2f}" if point and point["cpu"] is not None else "" for point in (ours, theirs)]
            lines.append(f"| {x:,} | {_span(ours)} | {_span(theirs)} | {ratio} | {cpu[0]} | {cpu[1]} | "
                         + ", ".join(f"{point['contestant']}: {point['whole']}" for point in (ours, theirs) if point) + " |")
    return "\n".join(lines) + "\n"


def _span(point):
    if not point or point["wall"] is None:
        return "–"
    return f"{growth.seconds(point['wall'])} ({growth.seconds(point['least'])}–{growth.seconds(point['most'])})"


def _head(about):
    cores = about["cores"] or 1
    noisy = "" if about["load"] <= cores else ("\n**Other programs were busy on this machine** (see the load): waits are longer than they are on a quiet one, and wall times "
                                               "vary by half or more between rounds. CPU times and memory are worth more here.\n")
    versions = "; ".join(f"{name}: {version}" for name, version in about["versions"].items())
    again = "".join(f"- `{row}` was measured again: {when}\n" for row, when in about.get("again", {}).items())
    return f"""# Benchmarks

Written by `scripts/bench.sh`, which anyone can run from a bare clone. The single runs are in [benchmarks.json](benchmarks.json).

- {about['date']}, commit {about['commit']}, {about['rounds']} rounds, data sets `{about['scale']}`
- {about['cores']} cores, {about['cpu']}, {about['memory_gib']} GiB, Linux {about['kernel']}; load over the last 15 minutes at the end: {about['load']}
- {versions}; Python {about['python']}
{again}{noisy}
How it is measured: servers (OpenSSH, vsftpd), clients and the sink share these cores. Contestants take turns, in another order each round;
shown are medians of the runs that arrived whole. After each run every byte in the sink is compared (SHA-256); a run that lost one counts as failed.
CPU is that of the client's whole process tree. Memory is the highest sum of PSS of its processes (sampled every 50 ms) or the highest
resident set of one process, whichever is more. The sink is `examples/bench_sink/`, a Blob service in memory; distance is
`examples/delay_proxy.rs`. Logins are by key (SFTP) or a cheap password (FTP). `busy` is how much of all cores was in use, by anybody:
near 100 % wall times say more of CPU than of waiting. blobferry always hashes every file (MD5) and looks at it again after reading it;
the others do less, as their defaults have it. AzCopy runs with `--put-md5`. `sftp-download` only downloads.
Rows `archives-…` unpack from a local folder into a local folder: blobferry reads every archive to its end before it writes anything, keeps its records,
and flushes its files to disk; the others unpack two archives at a time where there are several. Of them only `unzip+sync` brings
its files to the disk, too, all at its end.
"""


def _table(row, result, scale):
    aims = _judged(row, result)
    title = row.title if scale == "full" else f"`{row.name}`, a smaller set than “{row.title}”"
    lines = [f"\n## {title}\n", f"`{row.name}`: {result['files']} files, {result['bytes'] / MIB:.0f} MiB to arrive"
             + (f", {row.rtt} ms round trip" if row.rtt else "") + (f", {row.store_rtt} ms to the store" if row.store_rtt else "") + (f", `{row.source}`" if row.source else "") + ".\n",
             "| contestant | wall s (min–max) | blobferry ÷ it | CPU s | blobferry ÷ it | peak MiB | busy | arrived whole |", "|---|---|---|---|---|---|---|---|"]
    ours = medians(result["runs"].get(PRODUCT, []))
    order = sorted(result["runs"], key=lambda name: (name != PRODUCT, (medians(result["runs"][name]) or {"wall": 1e9})["wall"]))
    for name in order:
        lines.append(_line(name, result["runs"][name], ours))
    lines += [f"| {name} | {why} | | | | | | |" for name, why in result["absent"].items()]
    lines += ["", *aims] if aims else []
    return "\n".join(lines) + "\n"


def _line(name, runs, ours):
    good = [run for run in runs if not run["failure"]]
    whole = _whole(runs)
    middle = medians(runs)
    if not middle:
        return f"| {name} | failed | | | | | | {whole} |"
    walls = [run["wall"] for run in good]
    ratio = {key: f"{ours[key] / max(middle[key], 0.01):.2f}" if ours and name != PRODUCT else "" for key in ("wall", "cpu")}
    return (f"| {name} | {middle['wall']:.2f} ({min(walls):.2f}–{max(walls):.2f}) | {ratio['wall']} | {middle['cpu']:.2f} | {ratio['cpu']} | "
            f"{middle['peak'] / MIB:.0f} | {middle['busy']:.0%} | {whole} |")


def _whole(runs):
    """How many arrived whole, and why the others did not."""
    failures = [run["failure"] for run in runs if run["failure"]]
    return f"{len(runs) - len(failures)} of {len(runs)}" + "".join(f"; {why}" for why in sorted(set(failures)))


def medians(runs):
    """Of the runs that arrived whole; None if there is none."""
    good = [run for run in runs if not run["failure"]]
    if not good:
        return None
    middle = {key: statistics.median(run[key] for run in good) for key in ("wall", "cpu", "busy")}
    return {**middle, "peak": max(max(run["pss"], run["hwm"]) for run in good)}


def _judged(row, result):
    """What was aimed at, and whether it was reached."""
    ours = medians(result["runs"].get(PRODUCT, []))
    lines = []
    for key, most, whom in row.targets:
        other = {name: middle[key] for name, runs in result["runs"].items() if name != PRODUCT and (middle := medians(runs))}
        base = min(other.values(), default=None) if whom == "best" else other.get(whom)
        of = "the best contestant" if whom == "best" else whom
        words = {"wall": "wall time", "cpu": "CPU time"}[key]
        lines.append(f"- target {words} ≤ {most} of {of}: " + ("not measured" if not ours or not base else _verdict(ours[key] / base, most, "{:.2f}")))
    if row.most_mib:
        lines.append(f"- target memory ≤ {row.most_mib} MiB: " + ("not measured" if not ours else _verdict(ours["peak"] / MIB, row.most_mib, "{:.0f} MiB")))
    return lines


def _verdict(value, most, shape):
    return f"**{shape.format(value)}**, {'reached' if value <= most else '**missed**'}"
