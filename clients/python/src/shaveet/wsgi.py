"""Shaveet beside a WSGI application: what its pages need, on the application's own origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, Optional
from urllib.parse import quote

from . import client, page
from .api import Name
from .errors import ShaveetError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ENVIRON_KEY = "shaveet"
"""Where the application finds this object in its environ."""

_HEADER = "HTTP_" + page.NEW_CLIENT_HEADER.upper().replace("-", "_")


class Shaveet:
    """A WSGI application around another.

    ``POST /shaveet/client`` makes a client for a page of the user who is logged in, and answers ``{"client_id", "key"}``;
    `html` puts all that a page needs into it. ``user`` gives the user's name for a request, or ``None`` if nobody is logged
    in; ``channels`` gives the channels of that user's pages, by default the one that is called ``user-NAME``.
    ``pages_url`` is where pages reach Shaveet.
    """

    def __init__(
        self,
        app: WSGIApplication,
        shaveet: client.Shaveet,
        user: Callable[[WSGIEnvironment], Optional[Name]],
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

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[ENVIRON_KEY] = self
        if environ.get("PATH_INFO") == self._path:
            return self._answer(environ, start_response)
        return self.app(environ, start_response)

    def new_client(self, user: Name) -> page.Client:
        """A client for a page of this user, subscribed to the user's channels."""
        with self.shaveet.batch() as batch:
            client_id, key = page.begin(batch, user, self._channels(user))
        return page.Client(client_id, key.result())

    def html(self, environ: WSGIEnvironment, nonce: Optional[str] = None) -> str:
        """The script tags of a page, or nothing if nobody is logged in. See `shaveet.page.html`."""
        user = self._user(environ)
        if user is None:
            return ""
        path = quote(environ.get("SCRIPT_NAME", "")) + self._path
        return page.html(self._try_new_client(environ, user), self.pages_url, path, nonce)

    def _try_new_client(self, environ: WSGIEnvironment, user: Name) -> Optional[page.Client]:
        try:
            return self.new_client(user)
        except ShaveetError as error:
            environ["wsgi.errors"].write(f"shaveet: {error}\n")
            return None

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST" or _HEADER not in environ:
            return _refuse(start_response, "405 Method Not Allowed", f"POST, with the header {page.NEW_CLIENT_HEADER}")
        user = self._user(environ)
        if user is None:
            return _refuse(start_response, "401 Unauthorized", "nobody is logged in")
        made = self._try_new_client(environ, user)
        if made is None:
            return _refuse(start_response, "503 Service Unavailable", "the push server does not answer")
        body = made.as_json()
        start_response("200 OK", [*made.headers(), ("Content-Length", str(len(body)))])
        return [body]


def _refuse(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    headers: Any = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(status, headers + ([("Allow", "POST")] if status.startswith("405") else []))
    return [body]
