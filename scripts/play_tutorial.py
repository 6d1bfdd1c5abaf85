"""Plays the commands of a page, in one shell and in order. See play-tutorial.sh."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

WITHOUT = os.environ.get("PLAY_WITHOUT")
PATIENCE = 1800  # seconds for one block: the first one compiles


def blocks(text):
    """(kind, lines, how) of each block up to the end of what can be played; how: None, or the port to wait for."""
    found, how, block = [], None, None
    for line in text.splitlines():
        if block is not None:
            if line == "```":
                found.append((block[0], block[1], how))
                block, how = None, None
            else:
                block[1].append(line)
        elif line.startswith("<!-- play: end"):
            return found
        elif match := re.fullmatch(r"<!-- play: background, until port (\d+) -->", line):
            how = int(match[1])
        elif match := re.fullmatch(r"```(\w+)", line):
            block = (match[1], [])
    sys.exit("play-tutorial: the page does not say where to end")


class Shell:
    """One bash for all commands, as a person has one terminal."""

    def __init__(self):
        self.bash = subprocess.Popen(["bash", "--noprofile", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, command, echo):
        """What the command prints, and its status. Its own standard input is empty."""
        end = f"played-{time.monotonic_ns()}"
        self.bash.stdin.write(f"eval {quoted(command)} </dev/null\nprintf '\\n%s %s\\n' {end} $?\n")
        self.bash.stdin.flush()
        timer = threading.Timer(PATIENCE, self.bash.kill)
        timer.start()
        printed = []
        for line in self.bash.stdout:
            line = line.rstrip("\n")
            if line.startswith(end):
                timer.cancel()
                if printed and printed[-1] == "":
                    printed.pop()
                return printed, int(line.split()[1])
            printed.append(line)
            if echo:
                print(f"    {line}", flush=True)
        sys.exit(f"play-tutorial: the shell ended in `{command}`")


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def pattern(line):
    return "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", line))


def matches(expected, printed):
    """Whether what was printed is what the page shows; a line of `…` alone is any number of lines."""
    parts = ["(?:.*\n)*" if line == "…" else pattern(line) + "\n" for line in expected]
    return re.fullmatch("".join(parts), "".join(line + "\n" for line in printed)) is not None


def play(page):
    shell, background, played = Shell(), [], 0
    try:
        for kind, lines, port in blocks(open(page, encoding="utf-8").read()):
            if port:
                script = "set -e\ncd; cd ferry\n" + "\n".join(lines)
                log = open(f"{os.environ['HOME']}/port-{port}.log", "w")
                background.append((subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True), log.name))
                print(f"$ {'; '.join(lines)} &", flush=True)
                wait(port, *background[-1])
                played += 1
            elif kind == "sh":
                left_out = [line for line in lines if WITHOUT and line.startswith(WITHOUT)]
                for line in left_out:
                    print(f"LEFT OUT: {line}", flush=True)
                    lines.remove(line)
                command = "\n".join(lines)
                print(f"$ {command}", flush=True)
                # `cd` and `export` must last, so no subshell: the block's commands end with the first that fails.
                printed, status = shell.run(joined(lines), echo=False)
                if status:
                    sys.exit("\n".join(printed[-40:]) + f"\nplay-tutorial: status {status}, not 0, of:\n{command}")
                played += 1
            elif kind == "console":
                for command, expected in sessions(lines):
                    print(f"$ {command}", flush=True)
                    printed, status = shell.run(command, echo=True)
                    if status:
                        sys.exit(f"play-tutorial: status {status}, not 0, of `{command}`")
                    if not matches(expected, printed):
                        sys.exit("play-tutorial: the page shows something else:\n" + "\n".join(f"    {line}" for line in expected))
                    played += 1
            else:
                print(f"(a block of {kind} is read, not played)", flush=True)
    finally:
        for process, _ in background:
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
    if played < 12:
        sys.exit(f"play-tutorial: only {played} commands were found: has the page another form?")
    print(f"played {played} commands of {page}: all as it says")


def joined(lines):
    """The commands of a block so that the first failure ends it, here-documents left whole."""
    commands, until = [], None
    for line in lines:
        if until is not None:
            commands[-1] += "\n" + line
            until = None if line == until else until
            continue
        match = re.search(r"<<'?(\w+)'?$", line)
        until = match[1] if match else None
        commands.append(line)
    # A here-document must end its line, so each command stands in braces of its own.
    return " && ".join("{ " + command + "\n}" for command in commands)


def sessions(lines):
    found = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def wait(port, process, log):
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(open(log).read() + f"\nplay-tutorial: nobody listens on port {port}")


play(sys.argv[1])
