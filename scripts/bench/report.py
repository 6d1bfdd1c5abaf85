"""Results as tables and as JSON."""

import datetime
import json
import os
import platform
import statistics
import subprocess

PRODUCT = "blobferry"
MIB = 1 << 20


def machine(versions, arguments):
    """What the numbers were measured on and with."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) >> 20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "cpu": cpu, "cores": os.cpu_count(), "memory_gib": memory,
            "kernel": platform.release(), "load": round(os.getloadavg()[2], 1), "commit": _commit(), "python": platform.python_version(),
            "versions": versions, "rounds": arguments.rounds, "scale": arguments.scale}


def _lines(path):
    with open(path, encoding="utf-8") as file:
        return file.readlines()


def _commit():
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=os.path.dirname(__file__), check=False)
    return asked.stdout.strip() or "unknown"


def write(folder, about, rows, results):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "benchmarks.json"), "w", encoding="utf-8") as out:
        json.dump({"machine": about, "rows": results}, out, indent=1)
        out.write("\n")
    with open(os.path.join(folder, "benchmarks.md"), "w", encoding="utf-8") as out:
        out.write(tables(about, rows, results))


def one(run):
    verdict = run["failure"] or "whole"
    return f"{run['wall']:.2f} s, {run['cpu']:.2f} CPU s, PSS {run['pss'] / MIB:.0f} MiB, HWM {run['hwm'] / MIB:.0f} MiB, machine {run['busy']:.0%} busy: {verdict}"


def tables(about, rows, results):
    text = [_head(about)]
    for row, result in zip(rows, results):
        text.append(_table(row, result, about["scale"]))
    return "\n".join(text)


def _head(about):
    cores = about["cores"] or 1
    noisy = "" if about["load"] <= cores else ("\n**Other programs were busy on this machine** (see the load): waits are longer than they are on a quiet one, and wall times "
                                               "vary by half or more between rounds. CPU times and memory are worth more here.\n")
    versions = "; ".join(f"{name}: {version}" for name, version in about["versions"].items())
    return f"""# Benchmarks

Written by `scripts/bench.sh`, which anyone can run from a bare clone. The single runs are in [benchmarks.json](benchmarks.json).

- {about['date']}, commit {about['commit']}, {about['rounds']} rounds, data sets `{about['scale']}`
- {about['cores']} cores, {about['cpu']}, {about['memory_gib']} GiB, Linux {about['kernel']}; load over the last 15 minutes at the end: {about['load']}
- {versions}; Python {about['python']}
{noisy}
How it is measured: servers (OpenSSH, vsftpd), clients and the sink share these cores. Contestants take turns, in another order each round;
shown are medians of the runs that arrived whole. After each run every byte in the sink is compared (SHA-256); a run that lost one counts as failed.
CPU is that of the client's whole process tree. Memory is the highest sum of PSS of its processes (sampled every 50 ms) or the highest
resident set of one process, whichever is more. The sink is `examples/bench_sink.rs`, a Blob service in memory; distance is
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
             + (f", {row.rtt} ms round trip" if row.rtt else "") + (f", `{row.source}`" if row.source else "") + ".\n",
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
    whole = f"{len(good)} of {len(runs)}" + "".join(f"; {why}" for why in sorted({run["failure"] for run in runs if run["failure"]}))
    middle = medians(runs)
    if not middle:
        return f"| {name} | failed | | | | | | {whole} |"
    walls = [run["wall"] for run in good]
    ratio = {key: f"{ours[key] / max(middle[key], 0.01):.2f}" if ours and name != PRODUCT else "" for key in ("wall", "cpu")}
    return (f"| {name} | {middle['wall']:.2f} ({min(walls):.2f}–{max(walls):.2f}) | {ratio['wall']} | {middle['cpu']:.2f} | {ratio['cpu']} | "
            f"{middle['peak'] / MIB:.0f} | {middle['busy']:.0%} | {whole} |")


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
