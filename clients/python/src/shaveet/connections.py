"""Connections over which calls are made, one call at a time each, kept for the next.

They are few, however many threads call: a thread that finds all of them in use waits for one.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import threading
import time
from typing import Dict, List, Optional, Tuple

from .errors import Unavailable
from .wire import IDLE_SECONDS_MAX, Address


class Connections:
    """A pool of connections to one server. Any number of threads may use it; so may a process after ``fork``."""

    def __init__(self, address: Address, timeout: float, limit: int) -> None:
        self._address = address
        self._timeout = timeout
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        self._free = threading.BoundedSemaphore(self._limit)
        self._idle: List[Tuple[float, http.client.HTTPConnection]] = []
        self._process = os.getpid()

    def post(self, body: bytes, headers: Dict[str, str]) -> Tuple[int, bytes]:
        """Sends a call and waits for its answer: the status and the body. Raises `Unavailable` if none comes."""
        if self._process != os.getpid():  # what was idle belongs to the parent, and so may a lock that is held
            self._begin()
        if not self._free.acquire(timeout=self._timeout):
            raise Unavailable(f"all {self._limit} connections to {self._address} are in use", maybe_done=False)
        try:
            return self._exchange(body, headers)
        finally:
            self._free.release()

    def close(self) -> None:
        """Closes the connections that are not in use."""
        while self._idle:
            self._idle.pop()[1].close()

    def _exchange(self, body: bytes, headers: Dict[str, str]) -> Tuple[int, bytes]:
        connection = self._reuse()
        if connection is None:
            connection = self._connect()
        try:
            connection.request("POST", self._address.path, body, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(f"no answer from {self._address}: {_words(error)}", maybe_done=True) from error
        except BaseException:
            connection.close()  # in the middle of an answer
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append((time.monotonic(), connection))
        return answer

    def _reuse(self) -> Optional[http.client.HTTPConnection]:
        """The connection that was used last. One that the server has closed meanwhile must not swallow a call."""
        while self._idle:
            try:
                since, connection = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            if time.monotonic() - since < IDLE_SECONDS_MAX and not _is_readable(connection.sock):
                return connection
            connection.close()
        return None

    def _connect(self) -> http.client.HTTPConnection:
        address = self._address
        connection: http.client.HTTPConnection
        if address.socket is not None:
            connection = _UnixConnection(address.socket, self._timeout)
        elif address.scheme == "https":
            connection = http.client.HTTPSConnection(address.host, address.port, timeout=self._timeout)
        else:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)
        try:
            connection.connect()
        except OSError as error:
            raise Unavailable(f"cannot connect to {address}: {_words(error)}", maybe_done=False) from error
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(self._seconds)
            connected.connect(self._path)
        except OSError:
            connected.close()
            raise
        self.sock = connected


def _is_readable(connected: Optional[socket.socket]) -> bool:
    """Something has come that nobody asked for: as a rule, the end."""
    if connected is None:
        return True
    if hasattr(select, "poll"):  # select() is at a loss with descriptors of 1024 and more
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connected], [], [], 0)[0])


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
