"""What can be counted and not just timed: the instructions and the system calls of a delivery.

Two runs that differ only in how many messages are delivered, subtracted: start, connecting and stopping cancel out.
"""

import re
import subprocess
import tempfile
from pathlib import Path

import bench


def instructions(bins, server, scenario, headers, pages=1000):
    """User-space instructions per delivery: all of them, by function without what it calls, and with it."""
    few, many = (20, 120) if scenario == "fanout" else (2_000, 22_000)
    deliveries = (many - few) * (pages if scenario == "fanout" else 1)
    before, after = (run_callgrind(bins, server, scenario, headers, pages, rounds) for rounds in (few, many))
    own, whole = ({name: (count - old.get(name, 0)) / deliveries for name, count in new.items()}
                  for old, new in zip(before, after))
    return own.pop("PROGRAM TOTALS"), own, whole


def run_callgrind(bins, server, scenario, headers, pages, rounds):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        under = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        with start(bins, server, scenario, under) as running:
            bench.load(bins, running, scenario, headers=headers, pages=pages, rounds=rounds)
        return read_callgrind(out, "no"), read_callgrind(out, "yes")


def read_callgrind(out, inclusive):
    """Counts by function."""
    command = ["callgrind_annotate", "--threshold=100", "--auto=no", f"--inclusive={inclusive}", str(out)]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    counts = {}
    for count, name in re.findall(r"^\s*([\d,]+) \([^)]*\)\s+(\S.*)$", text, re.M):
        name = re.sub(r" \[[^]]*\]$", "", name)
        # FILE:FUNCTION; the server's own are built without files.
        name = name.partition(":")[2] or name
        counts[name] = counts.get(name, 0) + int(count.replace(",", ""))
    return counts


# What a turn calls, which answers many.
TURNS_CALLS = "epoll_wait,epoll_pwait,clock_gettime"


def system_calls(bins, server, scenario, pages=1000):
    """System calls per delivery, by name. What is watched takes longer: where all calls are, there are more turns, as ours end
    by the clock; where only the turns' are, a load that comes bit by bit wakes the server more often. Both can only add, so
    the less is nearer."""
    few, many = (10, 60) if scenario == "fanout" else (1_000, 6_000)
    deliveries = (many - few) * (pages if scenario == "fanout" else 1)
    found = []
    for which in ("trace=all", f"trace={TURNS_CALLS}"):
        before, after = (run_strace(bins, server, scenario, pages, rounds, which) for rounds in (few, many))
        found.append({name: (count - before.get(name, 0)) / deliveries for name, count in after.items()})
    whole, turns = found
    return whole | {name: min(count, whole[name]) for name, count in turns.items() if name in whole}


def run_strace(bins, server, scenario, pages, rounds, which):
    with tempfile.NamedTemporaryFile("r") as out:
        under = ["strace", "-c", "-f", "-q", "--seccomp-bpf", "-e", which, "-o", out.name]
        with start(bins, server, scenario, under) as running:
            bench.load(bins, running, scenario, pages=pages, rounds=rounds)
        return bench.read_strace(out.read())


def start(bins, server, scenario, under):
    if server == "floor":
        return bench.Floor(bins, "unicast" if scenario == "unicast" else "fanout", under)
    return bench.Shaveet(bins, under=under)
