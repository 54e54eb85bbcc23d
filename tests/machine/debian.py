"""A bare Debian machine in a folder: systemd is its first process, and its network is a loopback of its own.

It is systemd-nspawn's container, made by debootstrap. Needs root, and debootstrap and systemd-container, which it installs.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
RELEASE = "bookworm"
BOOT_S_MAX = 120
END_S_MAX = 30
# What a machine needs to be one. It has nothing else, and what is installed later it finds in apt's cache: it reaches no mirror.
BARE = ["systemd", "systemd-sysv", "dbus", "ca-certificates"]
LATER = ["nginx", "curl", "man-db", "redis-server"]
# Where nspawn has put itself and the machine, if there is no systemd here that would clear it away.
GROUPS = [f"/sys/fs/cgroup/{tree}/{group}" for tree in ("systemd", "unified") for group in ("payload", "supervisor")]
# Its new workers are there a while after nginx was told to reload.
NGINX_LEADS_TO_SHAVEET = "curl --silent --fail --output /dev/null http://127.0.0.1/static/shaveet.js"
# Of a variable of the test's nothing shall get in.
ENVIRONMENT = ["env", "-i", "--chdir=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]


class Machine:
    """To be used in a `with`: at its end nothing of it is left."""

    def __enter__(self):
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="machine-"))
        self._nspawn = None
        self._beside = []
        try:
            self.root = self._folder / "root"
            subprocess.run(["cp", "-a", base(), self.root], check=True)
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self._beside:
            process.kill()  # which has ended already, if all is well
            process.wait()
        if self._nspawn:
            self._nspawn.terminate()  # which has systemd shut down
            try:
                self._nspawn.wait(END_S_MAX)
            except subprocess.TimeoutExpired:
                subprocess.run(["kill", "-KILL", str(self._leader)], check=False)
                self._nspawn.wait()
            self._console.close()
            for group in GROUPS:
                for inner, _, _ in os.walk(group, topdown=False):
                    os.rmdir(inner)
        shutil.rmtree(self._folder)

    def run(self, script):
        """What a shell of root's says to this, which has to succeed."""
        done = self.tries(script)
        if done.returncode != 0:
            raise AssertionError(f"exit code {done.returncode}: {script}\n{done.stdout}")
        return done.stdout

    def tries(self, script):
        """The same, and it may fail."""
        inside = ["nsenter", "--target", str(self._leader), "--all", "--root", *ENVIRONMENT]
        return subprocess.run(
            [*inside, "bash", "-euo", "pipefail", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )

    def until(self, script):
        """Waits until this succeeds."""
        end = time.monotonic() + BOOT_S_MAX
        while self.tries(script).returncode != 0:
            if time.monotonic() > end:
                raise AssertionError(f"in vain: {script}")
            time.sleep(0.05)

    def beside(self, *arguments):
        """A process of the test's in the machine's network, whose input and output are pipes."""
        inside = ["nsenter", "--target", str(self._leader), "--net"]
        process = subprocess.Popen([*inside, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._beside.append(process)
        return process

    def put(self, file, into="root"):
        """Copies a file into a folder of the machine's, and gives its path there."""
        shutil.copy(file, self.root / into)
        return f"/{into}/{pathlib.Path(file).name}"

    def _boot(self):
        # Where systemd is not the first process already, /run may be on a disk, which nspawn does not like.
        nspawn = (
            f"mount -t tmpfs tmpfs /run; exec systemd-nspawn --quiet --directory={self.root} --boot --private-network "
            "--register=no --keep-unit --notify-ready=yes --machine=bare --console=pipe"
        )
        self._console = open(self._folder / "console", "w+b")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self._folder / "ready"))
            ready.settimeout(BOOT_S_MAX)
            environment = {**os.environ, "NOTIFY_SOCKET": str(self._folder / "ready")}
            self._nspawn = subprocess.Popen(
                ["unshare", "--mount", "sh", "-ec", nspawn],
                env=environment, stdin=subprocess.DEVNULL, stdout=self._console, stderr=self._console,
            )
            self._leader = None
            said = ""
            while "READY=1" not in said:
                try:
                    said = ready.recv(4096).decode()
                except TimeoutError:
                    raise AssertionError((self._folder / "console").read_text(errors="replace")) from None
                for line in said.splitlines():
                    if line.startswith("X_NSPAWN_LEADER_PID="):
                        self._leader = int(line.partition("=")[2])
        self.run("systemctl is-system-running --wait || true")


def base():
    """The folder that machines are copies of, made once."""
    folder = TARGET / "machine" / "-".join([RELEASE, *LATER])
    if folder.exists():
        return folder
    install("debootstrap", "systemd-container")
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = folder.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    with step(f"a Debian {RELEASE}, which is kept in {folder.parent}"):
        quietly("debootstrap", "--variant=minbase", f"--include={','.join(BARE)}", RELEASE, making, MIRROR)
        quietly("chroot", making, "apt-get", "install", "--yes", "--download-only", *LATER)
    making.rename(folder)
    return folder


def install(*packages):
    """Installs packages here."""
    missing = [name for name in packages if subprocess.run(["dpkg", "-s", name], capture_output=True, check=False).returncode]
    if missing:
        with step(" ".join(missing)):
            quietly("apt-get", "update")
            quietly("apt-get", "install", "--yes", "--no-install-recommends", *missing)


def quietly(*arguments):
    """Runs this, and is silent unless it fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}: {arguments}\n{done.stdout[-4000:]}")
    return done.stdout


class step:
    """Says what is done, and how long it took."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        print(f"== {self.name}", flush=True)
        self._begin = time.monotonic()

    def __exit__(self, kind, *_):
        self.seconds = time.monotonic() - self._begin
        print(f"   {'failed' if kind else 'done'} after {self.seconds:.1f} s", flush=True)


class Crowd:
    """Pages that listen through nginx while somebody publishes: pages.py in the machine. It begins when all of them listen."""

    def __init__(self, machine):
        self._process = machine.beside("python3", str(ROOT / "tests/machine/pages.py"))
        said = self._process.stdout.readline()
        if not said.startswith("listening"):
            raise AssertionError(f"the pages do not listen: {said}{self._process.stdout.read()}")

    def end(self):
        """Has the publisher stop and gives what came of it, when every page has the last message."""
        said, _ = self._process.communicate("", timeout=BOOT_S_MAX)
        if self._process.returncode != 0:
            raise AssertionError(said)
        return json.loads(said)
