"""Why a call failed, by kind: what a caller does next differs, so each kind is a class of its own."""

from __future__ import annotations

from typing import Dict, Sequence, Tuple, Type


class ShaveetError(Exception):
    """Anything that went wrong between this application and its Shaveet."""


class Unavailable(ShaveetError):
    """No answer came, also not to the repetitions that were safe: Shaveet is down, or too slow.

    If ``maybe_done`` is true the call was sent and may have been carried out all the same; if it is false it was not.
    """

    def __init__(self, text: str, maybe_done: bool) -> None:
        super().__init__(text)
        self.maybe_done = maybe_done


class Forbidden(ShaveetError):
    """Shaveet does not take calls from here: see ``--rpc-allow`` and the token. Its log says why."""


class CallError(ShaveetError):
    """Shaveet has answered that the call failed. ``code`` is that of JSON-RPC 2.0."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {message}")
        self.method = method
        self.code = code
        self.message = message

    def __reduce__(self) -> Tuple[Type[CallError], Tuple[str, int, str]]:
        return type(self), (self.method, self.code, self.message)


class UnknownClient(CallError):
    """The client is not there: it was never made, was killed, or was away for too long. Make it anew."""


class UnknownChannel(CallError):
    """The channel does not exist: nobody has subscribed or published there, or it was freed since."""


class LimitReached(CallError):
    """A limit of the server is reached; the message names it."""


class BrokerAway(CallError):
    """Where several nodes share one Redis: it does not answer, or refuses; the message says which. If it did not answer
    the call may have been done: repeat it, ``publish`` with an ``idempotency_key``."""


class InvalidArguments(CallError):
    """The arguments are too many, too few, misnamed or of a wrong type."""


class UnknownMethod(CallError):
    """This server has no such method: it is older than this package."""


class InvalidRequest(CallError):
    """What was sent is no call, or larger than the server takes (``--max-body``)."""


class BatchError(ShaveetError):
    """Some calls of a batch failed. ``errors`` are theirs, in order; what the other calls gave is with them."""

    def __init__(self, errors: Sequence[ShaveetError], calls: int) -> None:
        super().__init__(f"{len(errors)} of {calls} calls failed, the first so: {errors[0]}")
        self.errors = tuple(errors)
        self.calls = calls

    def __reduce__(self) -> Tuple[Type[BatchError], Tuple[Sequence[ShaveetError], int]]:
        return type(self), (self.errors, self.calls)


_KINDS: Dict[int, Type[CallError]] = {
    -32700: InvalidRequest,
    -32600: InvalidRequest,
    -32601: UnknownMethod,
    -32602: InvalidArguments,
    -32001: UnknownClient,
    -32002: UnknownChannel,
    -32003: LimitReached,
    -32004: BrokerAway,
}


def call_error(method: str, code: int, message: str) -> CallError:
    """The exception for an error that Shaveet has answered with."""
    return _KINDS.get(code, CallError)(method, code, message)
