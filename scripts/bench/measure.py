"""One command under the clock: wall time, CPU time of its whole process tree, memory of all its processes."""

import os
import resource
import signal
import subprocess
import threading
import time

EVERY = 0.05


class Measured:
    """Seconds and bytes; `failure` is None when the command ended well and in time."""

    def __init__(self, wall, cpu, pss, hwm, failure):
        self.wall, self.cpu, self.pss, self.hwm, self.failure = wall, cpu, pss, hwm, failure


def run(command, environment, log, time_limit):
    """Runs `command` by bash in a session of its own; all of it is gone when this returns.

    CPU is user and system time of bash and of all descendants that were waited for. Memory is the highest sum of
    proportional set sizes (PSS) in samples every 50 ms, and the highest resident set of any one process, which the
    kernel keeps (VmHWM): only a peak in a process's last 50 ms is missed."""
    with open(log, "wb") as output:
        began = time.monotonic()
        child = subprocess.Popen(["bash", "-c", command], env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        watch = _Watch(child.pid)
        timer = threading.Timer(time_limit, _kill, (child.pid,))
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        pss, hwm = watch.end()
        _kill(child.pid)
    failure = None
    if wall >= time_limit:
        failure = f"stopped after {time_limit:.0f} s"
    elif child.returncode != 0:
        failure = f"exit status {child.returncode}"
    return Measured(wall, usage.ru_utime + usage.ru_stime, pss, hwm, failure)


def _kill(session):
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        pass


class _Watch(threading.Thread):
    """Samples the memory of every process of a session."""

    def __init__(self, session):
        super().__init__(daemon=True)
        self.session, self.pss, self.hwm, self.over = session, 0, 0, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(EVERY):
            processes = list(self._processes())
            self.pss = max(self.pss, sum(_field(process, "smaps_rollup", "Pss:") for process in processes))
            self.hwm = max([self.hwm, *(_field(process, "status", "VmHWM:") for process in processes)])

    def end(self):
        self.over.set()
        self.join()
        return self.pss, self.hwm

    def _processes(self):
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                        fields = stat.read().rsplit(")", 1)[1].split()
                except (OSError, IndexError):
                    continue
                if int(fields[3]) == self.session:
                    yield name


def _field(process, file, key):
    """In bytes; 0 of a process that has ended."""
    try:
        with open(f"/proc/{process}/{file}", encoding="utf-8") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)
    except OSError:
        return 0


def busy():
    """Seconds that all cores have been busy and idle since the machine started."""
    with open("/proc/stat", encoding="utf-8") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:]]
    idle, hertz = ticks[3] + ticks[4], os.sysconf("SC_CLK_TCK")
    return (sum(ticks[:8]) - idle) / hertz, idle / hertz


def allow_many_files():
    """Some contestants hold hundreds of connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
