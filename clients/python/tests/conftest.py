from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from typing import Any, Callable, Iterator

import pytest
from support import Server

from shaveet import Shaveet
from shaveet.aio import AsyncShaveet


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts a server of the test's own."""
    started = []

    def begin(*args: str, **options: Any) -> Server:
        started.append(Server(*args, **options))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


@pytest.fixture
def shaveet(server: Server) -> Iterator[Shaveet]:
    with Shaveet(server.url) as client:
        yield client


class Awaiting:
    """The asynchronous client, so that the same test can use both: awaits all that its methods give."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = self._run(self._make(*args, **options))

    async def _make(self, *args: Any, **options: Any) -> AsyncShaveet:
        return AsyncShaveet(*args, **options)

    def _run(self, deed: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(deed, self._loop).result()

    def batch(self) -> Any:
        return AwaitingBatch(self, self._client.batch())

    def close(self) -> None:
        self._run(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        @functools.wraps(method)
        def call(*args: Any, **named: Any) -> Any:
            given = method(*args, **named)
            return self._run(given) if inspect.isawaitable(given) else given

        return call


class AwaitingBatch:
    def __init__(self, client: Awaiting, batch: Any) -> None:
        self._client, self._batch = client, batch

    def __enter__(self) -> Any:
        return self._client._run(self._batch.__aenter__())

    def __exit__(self, *raised: Any) -> Any:
        return self._client._run(self._batch.__aexit__(*raised))


@pytest.fixture(params=["waiting", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes a client of either kind."""
    made = []

    def begin(*args: Any, **options: Any) -> Any:
        made.append((Shaveet if request.param == "waiting" else Awaiting)(*args, **options))
        return made[-1]

    yield begin
    for client in made:
        client.close()


@pytest.fixture
def either(connect: Callable[..., Any], server: Server) -> Any:
    """A client of either kind, for the server that the tests share."""
    return connect(server.url)
