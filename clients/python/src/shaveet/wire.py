"""What both clients share: where the server is, what is sent, how answers are read, and when a call is sent again."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, TypeVar
from urllib.parse import urlsplit

from .api import Call
from .errors import CallError, Forbidden, InvalidRequest, ShaveetError, Unavailable, call_error

T = TypeVar("T")

BATCH_CALLS_MAX = 1000
"""Calls in one batch: the server takes no more."""

BATCH_BYTES_MAX = 1 << 20
"""What is sent of a batch in one go, unless one call alone is larger; the server takes 4 MiB (``--max-body``)."""

IDLE_SECONDS_MAX = 30.0
"""A connection that was idle for longer is not used again: the server closes it after 75 s."""


@dataclass(frozen=True)
class Address:
    """Where a server takes calls."""

    scheme: str
    host: str
    port: int
    path: str
    socket: Optional[str] = None
    """The file of its Unix socket, if it has one."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """From ``http://HOST:PORT``, ``https://HOST``, or ``unix:/run/shaveet/rpc.sock``.

        Raises `ValueError` for anything else.
        """
        if url.startswith("unix:"):
            path = "/" + url[len("unix:") :].lstrip("/")
            if path == "/":
                raise ValueError(f"{url!r} names no socket; unix:/run/shaveet/rpc.sock does")
            return cls("http", "localhost", 80, "/", path)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is neither http://HOST:PORT nor unix:/PATH")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname, port, parts.path or "/")

    @property
    def url(self) -> str:
        """The address as a URL; of a Unix socket one that says what is asked of it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else self.url


def headers(token: Optional[str]) -> Dict[str, str]:
    """The headers of every call."""
    common = {"Content-Type": "application/json", "Accept": "application/json"}
    return common if token is None else {**common, "Authorization": f"Bearer {token}"}


def encode(body: Any) -> bytes:
    """JSON in ASCII. Raises `ValueError` or `TypeError` for what is no JSON, NaN included."""
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode("ascii")


def check_status(address: Address, status: int, body: bytes, method: str) -> None:
    """Raises for what is no answer to a call."""
    if status == 200:
        return
    if status == 404:
        raise Forbidden(f"{address} takes no calls from here, or wants another token (404); its log says why")
    text = body[:500].decode("utf-8", "replace").strip()
    if status in (429, 503):  # sent away before it was looked at
        raise Unavailable(f"{address} has no time ({status}): {text}", maybe_done=False)
    if status >= 500:  # of a proxy in between
        raise Unavailable(f"{address} failed ({status}): {text}", maybe_done=True)
    raise InvalidRequest(method, -32600, f"{address} refuses what was sent ({status}): {text}")


def read_body(address: Address, body: bytes) -> Any:
    """What an answer says, as JSON."""
    try:
        return json.loads(body)
    except ValueError:
        raise ShaveetError(f"{address} is no Shaveet: it answers {body[:100]!r}") from None


def read_answer(address: Address, call: Call[T], answer: Any) -> T:
    """The result of a call, or its error."""
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        error = answer["error"]
        raise call_error(call.method, int(error.get("code", 0)), str(error.get("message", "")))
    try:
        return call.read(answer["result"])
    except (KeyError, TypeError, ValueError) as error:
        raise CallError(call.method, 0, f"{address} answers what was not asked: {str(answer)[:200]}") from error


def by_id(answers: Any) -> Dict[int, Any]:
    """The answers of a batch, by the numbers of their calls."""
    if not isinstance(answers, list):
        return {}
    return {answer["id"]: answer for answer in answers if isinstance(answer, dict) and isinstance(answer.get("id"), int)}


@dataclass(frozen=True)
class Piece:
    """Calls that are sent as one batch."""

    begin: int
    calls: Sequence[Call[Any]]
    body: bytes

    @property
    def is_repeatable(self) -> bool:
        """It may be sent again if the answer is lost."""
        return all(call.is_repeatable for call in self.calls)


def pieces(calls: Sequence[Call[Any]]) -> List[Piece]:
    """The calls in as few batches as the server's limits allow."""
    found: List[Piece] = []
    texts: List[bytes] = []
    begin = size = 0
    for at, call in enumerate(calls):
        text = encode(call.request(at))
        if texts and (len(texts) == BATCH_CALLS_MAX or size + len(text) > BATCH_BYTES_MAX):
            found.append(Piece(begin, calls[begin:at], b"[" + b",".join(texts) + b"]"))
            texts, begin, size = [], at, 0
        texts.append(text)
        size += len(text) + 1
    if texts:
        found.append(Piece(begin, calls[begin:], b"[" + b",".join(texts) + b"]"))
    return found


class Patience:
    """How long a call that got no answer is sent again."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._pause = 0.05

    def pause(self, error: Unavailable, is_repeatable: bool) -> Optional[float]:
        """Seconds until it is sent again, growing and never twice the same; ``None`` if it must not be, or not any more."""
        if error.maybe_done and not is_repeatable:
            return None
        pause = self._pause * random.uniform(0.5, 1.5)
        self._pause = min(self._pause * 2, 1.0)
        return pause if time.monotonic() + pause < self._deadline else None
