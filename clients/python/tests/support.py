"""The real server, a page that listens, and a line between two that loses answers."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("SHAVEET_BIN", str(ROOT / "target/debug/shaveet"))
SECONDS_MAX = 20.0
"""How long anything may take that should happen at once, on a busy machine."""

_open = build_opener(ProxyHandler({})).open


def free_port() -> int:
    """One that the kernel gives to nobody who does not ask for it: whoever is started again has it again."""
    given = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(given, 20_000))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Server:
    """A Shaveet of its own, at a port that stays the same when it is started again."""

    def __init__(self, *args: str) -> None:
        self._args, self._listen = args, f"127.0.0.1:{free_port()}"
        self.start()

    def start(self) -> None:
        command = [BINARY, "--listen", self._listen, *self._args]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        lines = iter(self._process.stdout.readline, "")
        urls = [line.split()[-1] for _, line in zip(range(self._listeners()), lines)]
        assert urls, "the server has not started"
        self.url, self.urls = urls[0], urls

    def _listeners(self) -> int:
        return 2 if "--rpc-listen" in self._args else 1

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It does nothing meanwhile."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Without a goodbye: it forgets everything."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A debug build checks the whole hub when it stops, so exit code 0 says that it held."""
        if self._process.poll() is None:
            assert self._end(signal.SIGTERM) == 0

    def _end(self, number: int) -> int:
        self._process.send_signal(number)
        code = self._process.wait(SECONDS_MAX)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


class Page:
    """A page that listens by long poll."""

    def __init__(self, url: str, client_id: str, key: str) -> None:
        self._url, self._credentials, self._since = url.rstrip("/"), f"{client_id}_!!_{key}", ""

    def poll(self) -> List[Dict[str, Any]]:
        """What has come since the last time; waits until there is something. Nothing may be lost."""
        query = urlencode({"client_id": self._credentials, "since": self._since})
        with _open(f"{self._url}/message_updates?{query}", timeout=SECONDS_MAX) as response:
            answer = json.load(response)
        self._since = answer["since"]
        assert not answer["gaps"], answer
        found: List[Dict[str, Any]] = answer["messages"]
        return found

    def hears(self, text: str) -> Dict[str, Any]:
        """Waits until this is said."""
        while True:
            for message in self.poll():
                if message["data"] == text:
                    return message


class Line:
    """A line to a server that may lose answers: ``loses()`` is asked for each piece of one, and if it says so, the connection
    is cut in its place."""

    def __init__(self, url: str, loses: Callable[[], bool]) -> None:
        host, port = url.split("//")[1].rstrip("/").split(":")
        self._to, self._loses = (host, int(port)), loses
        self.answers = self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(inner,), daemon=True).start()

    def _carry(self, inner: socket.socket) -> None:
        """One call after another, as a client sends them."""
        outer: Optional[socket.socket] = None
        try:
            with inner, socket.create_connection(self._to) as outer:
                while True:
                    request = _whole(inner)
                    if not request:
                        return
                    outer.sendall(request)
                    answer = _whole(outer)
                    self.answers += 1
                    if self._loses():
                        self.lost += 1
                        return
                    inner.sendall(answer)
        except OSError:
            return


def _whole(connection: socket.socket) -> bytes:
    """A request or an answer, as long as its Content-Length says."""
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if len(body) >= int(lengths[0].split(b":")[1]):
                return data
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
