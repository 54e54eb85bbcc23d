"""Many calls in one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Generic, List, Optional, TypeVar, cast

from .api import Api, Call
from .errors import BatchError, ShaveetError
from .wire import Address, Piece, by_id, read_answer, read_body

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")


class Pending(Generic[T]):
    """What a call of a batch gives, once the batch has been sent."""

    def __init__(self) -> None:
        self._result: Optional[T] = None
        self._error: Optional[ShaveetError] = None
        self._is_done = False

    def result(self) -> T:
        """The result. Raises the call's own error if it failed, and `RuntimeError` before the batch was sent."""
        if not self._is_done:
            raise RuntimeError("the batch has not been sent yet: it is when its `with` block ends")
        if self._error is not None:
            raise self._error
        return cast(T, self._result)

    def _succeed(self, result: T) -> None:
        self._result, self._is_done = result, True

    def _fail(self, error: ShaveetError) -> None:
        self._error, self._is_done = error, True


def _noted(method: Callable[Concatenate[Api, P], T]) -> Callable[Concatenate[Calls, P], Pending[T]]:
    """The method of `Api` as it is: what its ``self._do`` gives is what it gives."""
    return cast("Callable[Concatenate[Calls, P], Pending[T]]", method)


class Calls:
    """The calls of a batch, which has the same methods. Each gives a `Pending`."""

    def __init__(self) -> None:
        self._calls: List[Call[Any]] = []
        self._pending: List[Pending[Any]] = []

    def _do(self, call: Call[T]) -> Pending[T]:
        pending: Pending[T] = Pending()
        self._calls.append(call)
        self._pending.append(pending)
        return pending

    def _take(self, address: Address, piece: Piece, body: bytes) -> None:
        """Gives a piece's answers to those who wait for them."""
        answers = by_id(read_body(address, body))
        for at, call in enumerate(piece.calls, piece.begin):
            try:
                self._pending[at]._succeed(read_answer(address, call, answers.get(at)))
            except ShaveetError as error:
                self._pending[at]._fail(error)

    def _end(self, failure: Optional[ShaveetError]) -> None:
        """Raises what went wrong: that a piece was not answered, or that calls failed."""
        if failure is not None:
            for pending in self._pending:
                if not pending._is_done:
                    pending._fail(failure)
            raise failure
        errors = [pending._error for pending in self._pending if pending._error is not None]
        if errors:
            raise BatchError(errors, len(self._calls))

    create_client = _noted(Api.create_client)
    rotate_key = _noted(Api.rotate_key)
    kill_client = _noted(Api.kill_client)
    client_info = _noted(Api.client_info)
    list_clients = _noted(Api.list_clients)
    subscribe = _noted(Api.subscribe)
    unsubscribe = _noted(Api.unsubscribe)
    subscribe_many = _noted(Api.subscribe_many)
    unsubscribe_many = _noted(Api.unsubscribe_many)
    unsubscribe_all_channel = _noted(Api.unsubscribe_all_channel)
    get_channel_clients = _noted(Api.get_channel_clients)
    get_client_channels = _noted(Api.get_client_channels)
    publish = _noted(Api.publish)
    broadcast = _noted(Api.broadcast)
    new_message = _noted(Api.new_message)
    history = _noted(Api.history)
    why = _noted(Api.why)
    channel_info = _noted(Api.channel_info)
    list_channels = _noted(Api.list_channels)
    list_methods = _noted(Api.list_methods)
    describe = _noted(Api.describe)
    call = _noted(Api.call)
