"""The client for asyncio. It needs httpx: ``pip install shaveet[async]``."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Optional, Type, TypeVar, cast

import httpx

from .api import Api, Call
from .batch import Calls
from .errors import ShaveetError, Unavailable
from .wire import (
    IDLE_SECONDS_MAX,
    Address,
    Patience,
    check_status,
    encode,
    headers,
    pieces,
    read_answer,
    read_body,
)

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")


def _awaited(
    method: Callable[Concatenate[Api, P], T],
) -> Callable[Concatenate[AsyncShaveet, P], Coroutine[Any, Any, T]]:
    """The method of `Api` as it is: what its ``self._do`` gives is what it gives."""
    return cast("Callable[Concatenate[AsyncShaveet, P], Coroutine[Any, Any, T]]", method)


class AsyncShaveet:
    """A Shaveet server, as the web application sees it; its methods are those of `shaveet.Shaveet`, to be awaited.

    One object serves all tasks of an event loop. The parameters are those of `shaveet.Shaveet`.
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
        self._retry_for = retry_for
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_SECONDS_MAX
        )
        # A proxy from the environment has no business between the two.
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self._address.socket, limits=limits, trust_env=False),
            headers=headers(token),
            timeout=timeout,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"AsyncShaveet({str(self._address)!r})"

    async def __aenter__(self) -> AsyncShaveet:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections. The object cannot be used any more."""
        await self._http.aclose()

    def batch(self) -> AsyncBatch:
        """Many calls in one request: ``async with shaveet.batch() as batch: batch.publish(...)``; the calls within are not
        awaited. See `shaveet.Shaveet.batch`."""
        return AsyncBatch(self)

    async def _do(self, call: Call[T]) -> T:
        body = await self._send(encode(call.request(1)), call.is_repeatable, call.method)
        return read_answer(self._address, call, read_body(self._address, body))

    async def _send(self, body: bytes, is_repeatable: bool, what: str) -> bytes:
        patience = Patience(self._retry_for)
        while True:
            try:
                status, answer = await self._post(body)
                check_status(self._address, status, answer, what)
                return answer
            except Unavailable as error:
                pause = patience.pause(error, is_repeatable)
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        try:
            response = await self._http.post(self._address.url, content=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            text = f"cannot connect to {self._address}: {str(error) or type(error).__name__}"
            raise Unavailable(text, maybe_done=False) from error
        except httpx.TransportError as error:
            text = f"no answer from {self._address}: {str(error) or type(error).__name__}"
            raise Unavailable(text, maybe_done=True) from error
        return response.status_code, response.content

    create_client = _awaited(Api.create_client)
    rotate_key = _awaited(Api.rotate_key)
    kill_client = _awaited(Api.kill_client)
    client_info = _awaited(Api.client_info)
    list_clients = _awaited(Api.list_clients)
    subscribe = _awaited(Api.subscribe)
    unsubscribe = _awaited(Api.unsubscribe)
    subscribe_many = _awaited(Api.subscribe_many)
    unsubscribe_many = _awaited(Api.unsubscribe_many)
    unsubscribe_all_channel = _awaited(Api.unsubscribe_all_channel)
    get_channel_clients = _awaited(Api.get_channel_clients)
    get_client_channels = _awaited(Api.get_client_channels)
    publish = _awaited(Api.publish)
    broadcast = _awaited(Api.broadcast)
    new_message = _awaited(Api.new_message)
    history = _awaited(Api.history)
    why = _awaited(Api.why)
    channel_info = _awaited(Api.channel_info)
    list_channels = _awaited(Api.list_channels)
    list_methods = _awaited(Api.list_methods)
    describe = _awaited(Api.describe)
    call = _awaited(Api.call)


class AsyncBatch(Calls):
    """Calls that are sent together when the ``async with`` block ends."""

    def __init__(self, shaveet: AsyncShaveet) -> None:
        super().__init__()
        self._shaveet = shaveet

    async def __aenter__(self) -> AsyncBatch:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            await self._send()

    async def _send(self) -> None:
        address, failure = self._shaveet._address, None
        try:
            for piece in pieces(self._calls):
                self._take(address, piece, await self._shaveet._send(piece.body, piece.is_repeatable, "batch"))
        except ShaveetError as error:
            failure = error
        self._end(failure)
