"""The client that waits for its answers."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Optional, Type, TypeVar

from .api import Api, Call
from .batch import Calls
from .connections import Connections
from .errors import ShaveetError, Unavailable
from .wire import Address, Patience, check_status, encode, headers, pieces, read_answer, read_body

T = TypeVar("T")


class Shaveet(Api):
    """A Shaveet server, as the web application sees it. One object serves all threads of a process.

    ``url`` is ``http://HOST:PORT`` or ``unix:/run/shaveet/rpc.sock``; ``token`` is that of ``--rpc-token-file``.
    An answer may take ``timeout`` seconds. Calls without an answer are sent again, where that is safe, for ``retry_for``
    seconds in all; 0 is never. More than ``connections`` calls at a time wait for each other.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8082",
        *,
        token: Optional[str] = None,
        timeout: float = 5.0,
        retry_for: float = 3.0,
        connections: int = 32,
    ) -> None:
        self._address = Address.parse(url)
        self._headers = headers(token)
        self._retry_for = retry_for
        self._connections = Connections(self._address, timeout, connections)

    def __repr__(self) -> str:
        return f"Shaveet({str(self._address)!r})"

    def __enter__(self) -> Shaveet:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that are not in use. The object can be used again."""
        self._connections.close()

    def batch(self) -> Batch:
        """Many calls in one request: ``with shaveet.batch() as batch: batch.publish(...)``.

        They are sent in order when the block ends, and not at all if it raises. The server carries them out one by one: when
        some fail, the others are done all the same, and a `BatchError` tells of those that failed.
        """
        return Batch(self)

    def _do(self, call: Call[T]) -> T:
        body = self._send(encode(call.request(1)), call.is_repeatable, call.method)
        return read_answer(self._address, call, read_body(self._address, body))

    def _send(self, body: bytes, is_repeatable: bool, what: str) -> bytes:
        patience = Patience(self._retry_for)
        while True:
            try:
                status, answer = self._connections.post(body, self._headers)
                check_status(self._address, status, answer, what)
                return answer
            except Unavailable as error:
                pause = patience.pause(error, is_repeatable)
                if pause is None:
                    raise
                time.sleep(pause)


class Batch(Calls):
    """Calls that are sent together when the ``with`` block ends."""

    def __init__(self, shaveet: Shaveet) -> None:
        super().__init__()
        self._shaveet = shaveet

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self._send()

    def _send(self) -> None:
        address, failure = self._shaveet._address, None
        try:
            for piece in pieces(self._calls):
                self._take(address, piece, self._shaveet._send(piece.body, piece.is_repeatable, "batch"))
        except ShaveetError as error:
            failure = error
        self._end(failure)
