"""What the benchmark commands share: building, starting servers, putting loads on them, reading what they used.

Standard library only. Whatever is started here is ended here, by its process.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCHES = ROOT / "benches"

# A load that takes longer hangs.
LOAD_SECONDS_MAX = 600


def say(text):
    print(text, file=sys.stderr, flush=True)


def build(traced=False):
    """Builds the server and the benchmarks; returns their folder. `traced` keeps the names of functions, for callgrind:
    the code is the same."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", BENCHES / "target")) / ("traced" if traced else "plain")
    keep_names = ["--config", "profile.release.strip=false"]
    for package in (ROOT, BENCHES):
        say(f"building {'the benchmarks' if package == BENCHES else 'the server'}{' with names' if traced else ''}")
        command = ["cargo", "build", "--quiet", "--release", "--bins", "--target-dir", str(target)]
        subprocess.run(command + (keep_names if traced else []), cwd=package, check=True)
    return target / "release"


def build_inside(traced=False):
    """Builds what runs the server's own code without sockets; returns the folder. `traced` as in `build`."""
    package = BENCHES / "inside"
    target = Path(os.environ.get("CARGO_TARGET_DIR", package / "target")) / ("traced" if traced else "plain")
    say("building what runs inside" + (" with names" if traced else ""))
    names = ["--config", "profile.release.debug=1"] if traced else []
    subprocess.run(["cargo", "build", "--quiet", "--release", "--bins", "--target-dir", str(target), *names],
                   cwd=package, check=True)
    return target / "release"


class Server:
    """A server process that says where it listens."""

    # What the load generator calls its wire.
    target = None

    def __init__(self, command, under=()):
        begin = time.perf_counter()
        # Its log is of no interest unless it fails to start.
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*under, *map(str, command)], stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        self.start_ms = (time.perf_counter() - begin) * 1000
        found = re.match(r"listening on http://(\S+)", line)
        if not found:
            self.log.seek(0)
            raise RuntimeError(f"{command[0]} does not start: {line}{self.log.read().decode()[-2000:]}")
        self.address = found[1]
        # strace stands between: the server is its child, and it ends with the server.
        traced = under and under[0] == "strace"
        self.pids = children(self.process.pid) if traced else [self.process.pid]

    def stop(self):
        # Of several processes the first is the one that ends the others.
        os.kill(self.pids[0], signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Shaveet(Server):
    target = "shaveet"

    def __init__(self, bins, args=(), under=()):
        # The pages of a load come faster, and more of them from one address, than anybody's from outside may.
        limits = ["--max-new-per-address", "1000000", "--max-connections-per-address", "1000000"]
        super().__init__([bins / "shaveet", "--listen", "127.0.0.1:0", *limits, *args], under)


class Floor(Server):
    target = "floor"

    def __init__(self, bins, mode="fanout", under=()):
        super().__init__([bins / "floor", mode], under)


class Nchan(Server):
    """nginx with one worker. It takes no port of its own choice and prints nothing, so both are done here."""

    target = "nchan"

    CONFIG = """
load_module {module};
worker_processes 1;
worker_rlimit_nofile {descriptors};
daemon off;
pid {folder}/pid;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  nchan_shared_memory_size 512M;
  server {{
    listen {address} backlog=4096;
    location = /pub {{ nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 10; }}
    location = /sub {{
      nchan_subscriber longpoll; nchan_channel_id $arg_id; nchan_subscriber_first_message oldest;
      nchan_subscriber_timeout 60s;
    }}
    location / {{ return 404; }}
  }}
}}
"""
    MODULES = [Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
               Path("/usr/lib64/nginx/modules/ngx_nchan_module.so")]

    @classmethod
    def module(cls):
        return next((path for path in cls.MODULES if path.exists() and shutil.which("nginx")), None)

    @classmethod
    def is_here(cls):
        return cls.module() is not None

    @classmethod
    def install(cls):
        if shutil.which("apt-get") and os.geteuid() == 0:
            subprocess.run(["apt-get", "install", "-qq", "--no-install-recommends", "nginx", "libnginx-mod-nchan"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @classmethod
    def version(cls):
        nginx = subprocess.run(["nginx", "-v"], stderr=subprocess.PIPE, text=True).stderr.strip().split("/")[-1]
        found = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"], stdout=subprocess.PIPE,
                               text=True).stdout if shutil.which("dpkg-query") else ""
        return f"nginx {nginx}, nchan {found or 'of an unknown version'}"

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        # A worker that is not root reads its temporary folders through this one.
        os.chmod(self.folder.name, 0o755)
        self.address = f"127.0.0.1:{free_port()}"
        descriptors = descriptor_limit()
        config = Path(self.folder.name) / "nginx.conf"
        config.write_text(self.CONFIG.format(
            module=self.module(), folder=self.folder.name, address=self.address, descriptors=descriptors,
            connections=descriptors - 64))
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["nginx", "-p", self.folder.name, "-c", str(config), "-e", f"{self.folder.name}/error.log"],
            stdout=subprocess.PIPE, stderr=self.log)
        wait_for_port(self.address, self.process)
        self.pids = [self.process.pid, *children(self.process.pid)]
        self.start_ms = float("nan")

    def stop(self):
        super().stop()
        self.folder.cleanup()


class Node(Server):
    """A peer from npm: `peers/NAME.js`."""

    def __init__(self):
        super().__init__(["node", BENCHES / "peers" / f"{self.target}.js"])

    @classmethod
    def is_here(cls):
        return bool(shutil.which("node")) and (BENCHES / "peers" / "node_modules" / cls.package).is_dir()

    @classmethod
    def install(cls):
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=BENCHES / "peers",
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @classmethod
    def version(cls):
        package = json.loads((BENCHES / "peers" / "node_modules" / cls.package / "package.json").read_text())
        return f"{cls.package} {package['version']}"


class SocketIo(Node):
    target = "socketio"
    package = "socket.io"


class Faye(Node):
    target = "faye"
    package = "faye"


PEERS = {"nchan": Nchan, "socketio": SocketIo, "faye": Faye}


def peers(wanted, install):
    """The peers that are here, after an attempt to get the others."""
    names = list(PEERS) if wanted == "all" else [name for name in wanted.split(",") if name in PEERS]
    for name in names:
        if install and not PEERS[name].is_here():
            say(f"installing {name}")
            PEERS[name].install()
    for name in names:
        if not PEERS[name].is_here():
            say(f"{name}: skipped")
    return [name for name in names if PEERS[name].is_here()]


def versions(names):
    return {name: PEERS[name].version() for name in names}


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(address, process):
    import socket
    host, port = address.rsplit(":", 1)
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nobody listens on {address}")


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def descriptor_limit():
    import resource
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)


# Server and load generator on the same core, or each on its own. Where one waits for the other at every message the
# scheduler may do either, and waking up another core costs more than the message: left to chance, two kinds of numbers
# come out. What is not named here is left to the scheduler.
PLACES = {"publish": "together", "unicast": "together", "fanout": "apart", "churn": "apart"}


def place(server, scenario):
    """Puts the server on its core; returns the load generator's cores."""
    cores = sorted(os.sched_getaffinity(0))
    how = PLACES.get(scenario)
    if how is None or len(cores) < 2:
        return cores
    for pid in server.pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores[:1])
    return cores[:1] if how == "together" else cores[1:]


def load(bins, server, scenario, **options):
    """Runs one scenario; returns its numbers. Lost, repeated, misrouted messages end the program."""
    cores = place(server, scenario)
    command = [bins / "load", scenario, "--target", server.target, "--address", server.address,
               "--pids", ",".join(map(str, server.pids))]
    for name, value in options.items():
        command += [f"--{name}", value]
    ran = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, timeout=LOAD_SECONDS_MAX,
                         preexec_fn=lambda: os.sched_setaffinity(0, cores))
    if ran.returncode != 0:
        raise SystemExit(f"FAILED: {server.target} {scenario} {options}: {ran.stdout.strip() or 'no result'}")
    return json.loads(ran.stdout)


def memory(pids, kind):
    """Bytes, `Rss` or `Pss`."""
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(re.search(rf"^{kind}:\s+(\d+) kB", text, re.M)[1]) << 10 for text in texts)


def wake_ups(pids):
    """How often the processes have gone to sleep and come back."""
    texts = (Path(f"/proc/{pid}/status").read_text() for pid in pids)
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1]) for text in texts)


def count_calls(pids, seconds):
    """System calls within some seconds, by name; None where strace is not to be had."""
    if not shutil.which("strace"):
        return None
    with tempfile.NamedTemporaryFile("r") as out:
        pid_options = [word for pid in pids for word in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-c", "-f", "-q", "-o", out.name, *pid_options],
                                  stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        return read_strace(out.read())


def read_strace(text):
    """The counts of a `strace -c` table, by name."""
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$", text, re.M)
    return {name: int(count) for count, name in rows if name != "total"}


def machine():
    """Where the numbers come from."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    total = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)
    return {
        "processor": cpu[1].strip() if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(total[1]) / (1 << 20)) if total else None,
        "kernel": platform.release().split("-")[0],
        "system": next((line.split("=", 1)[1].strip().strip('"') for line in
                        Path("/etc/os-release").read_text().splitlines() if line.startswith("PRETTY_NAME")), ""),
    }


def commit():
    def git(*args):
        return subprocess.run(["git", "-C", str(ROOT), *args], stdout=subprocess.PIPE, text=True).stdout.strip()
    return git("rev-parse", "--short=12", "HEAD") + (" and changes" if git("status", "--porcelain", "src", "Cargo.toml",
                                                                           "Cargo.lock") else "")
