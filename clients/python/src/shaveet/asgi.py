"""Shaveet beside an ASGI application: what its pages need, on the application's own origin."""

from __future__ import annotations

import inspect
import logging
from typing import Any, Awaitable, Callable, Iterable, MutableMapping, Optional, Union

from . import page
from .aio import AsyncShaveet
from .api import Name
from .errors import ShaveetError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY = "shaveet"
"""Where the application finds this object in its scope."""


class Shaveet:
    """An ASGI application around another. It is what `shaveet.wsgi.Shaveet` is; ``user`` gets the scope of a request, and
    may be a coroutine function."""

    def __init__(
        self,
        app: App,
        shaveet: AsyncShaveet,
        user: Callable[[Scope], Union[Optional[Name], Awaitable[Optional[Name]]]],
        channels: Callable[[Name], Iterable[Name]] = lambda user: [f"user-{user}"],
        pages_url: str = "http://127.0.0.1:8082",
        path: str = "/shaveet",
    ) -> None:
        self.app = app
        self.shaveet = shaveet
        self.pages_url = pages_url
        self._user = user
        self._channels = channels
        self._path = path.rstrip("/") + "/client"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[SCOPE_KEY] = self
            if scope["path"] == scope.get("root_path", "") + self._path:
                return await self._answer(scope, send)
        await self.app(scope, receive, send)

    async def new_client(self, user: Name) -> page.Client:
        """A client for a page of this user, subscribed to the user's channels."""
        async with self.shaveet.batch() as batch:
            client_id, key = page.begin(batch, user, self._channels(user))
        return page.Client(client_id, key.result())

    async def html(self, scope: Scope, nonce: Optional[str] = None) -> str:
        """The script tags of a page, or nothing if nobody is logged in. See `shaveet.page.html`."""
        user = await self._name(scope)
        if user is None:
            return ""
        path = scope.get("root_path", "") + self._path
        return page.html(await self._try_new_client(user), self.pages_url, path, nonce)

    async def _try_new_client(self, user: Name) -> Optional[page.Client]:
        try:
            return await self.new_client(user)
        except ShaveetError as error:
            logging.getLogger("shaveet").error("%s", error)
            return None

    async def _name(self, scope: Scope) -> Optional[Name]:
        user = self._user(scope)
        return await user if inspect.isawaitable(user) else user

    async def _answer(self, scope: Scope, send: Send) -> None:
        has_header = any(name == page.NEW_CLIENT_HEADER.lower().encode() for name, _ in scope["headers"])
        if scope["method"] != "POST" or not has_header:
            return await _respond(send, 405, f"POST, with the header {page.NEW_CLIENT_HEADER}\n".encode())
        user = await self._name(scope)
        if user is None:
            return await _respond(send, 401, b"nobody is logged in\n")
        made = await self._try_new_client(user)
        if made is None:
            return await _respond(send, 503, b"the push server does not answer\n")
        await _respond(send, 200, made.as_json(), made.headers())


async def _respond(send: Send, status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> None:
    named = dict(headers) or {"Content-Type": "text/plain", "Cache-Control": "no-store"}
    if status == 405:
        named["Allow"] = "POST"
    named["Content-Length"] = str(len(body))
    raw = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
