"""What a process and its children used: CPU-seconds and peak resident memory, from /proc."""

import os
import pathlib
import time

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid):
    """The process and its living descendants."""
    found = [pid]
    for parent in found:
        for listing in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in listing.read_text().split()]
            except OSError:
                pass
    return found


def cpu(pid):
    """User and system seconds of the process, its living children, and those it has waited for."""
    total = 0
    for one in tree(pid):
        try:
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(ticks) for ticks in fields[11:15])
    return total / TICKS


def peak(pid):
    """Bytes: the sum of the highest resident sizes of the process and its living children."""
    total = 0
    for one in tree(pid):
        try:
            for line in pathlib.Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def forget_peak(pid):
    """Starts the peak anew from what is resident now."""
    try:
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        pass


class Usage:
    """CPU-seconds, wall seconds and peak memory from its making until `stop`."""

    def __init__(self, pid):
        forget_peak(pid)
        self.pid, self.cpu, self.began = pid, cpu(pid), time.monotonic()

    def stop(self):
        return {
            "cpu_s": cpu(self.pid) - self.cpu,
            "wall_s": time.monotonic() - self.began,
            "peak_bytes": peak(self.pid),
        }
