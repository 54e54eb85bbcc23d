"""What pages get: by WSGI, by ASGI, and the HTML of it."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any, Dict, List, Optional, Tuple

import pytest
from support import Page, Server

import shaveet.asgi
import shaveet.wsgi
from shaveet import Shaveet, page
from shaveet.aio import AsyncShaveet

Answer = Tuple[int, Dict[str, str], str]


class Site:
    """A site that says who one is by the query, behind either kind of application."""

    def __init__(self, kind: str, url: str, **options: Any) -> None:
        self._kind, self._url, self._options = kind, url, options

    def ask(self, method: str, path: str, user: str, header: bool = True) -> Answer:
        return (self._wsgi if self._kind == "wsgi" else self._asgi)(method, path, user, header)

    def _wsgi(self, method: str, path: str, user: str, header: bool) -> Answer:
        def app(environ: Any, start_response: Any) -> List[bytes]:
            start_response("200 OK", [])
            return [environ["shaveet"].html(environ, nonce='"n').encode()]

        client = Shaveet(self._url, retry_for=0)
        mounted = shaveet.wsgi.Shaveet(app, client, lambda environ: environ["QUERY_STRING"] or None, **self._options)
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": user, "SCRIPT_NAME": "/site"}
        if header:
            environ["HTTP_X_SHAVEET"] = "1"
        got: List[Any] = []
        errors = {"wsgi.errors": io.StringIO()}
        body = b"".join(mounted({**environ, **errors}, lambda status, headers: got.extend([status, headers])))
        client.close()
        return int(got[0].split()[0]), dict(got[1]), body.decode()

    def _asgi(self, method: str, path: str, user: str, header: bool) -> Answer:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            body = await scope["shaveet"].html(scope, nonce='"n')
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body.encode()})

        async def name(scope: Any) -> Optional[str]:
            return scope["query_string"].decode() or None

        async def visit() -> Answer:
            async with AsyncShaveet(self._url, retry_for=0) as client:
                mounted = shaveet.asgi.Shaveet(app, client, name, **self._options)
                headers = [(b"x-shaveet", b"1")] if header else []
                scope = {"type": "http", "method": method, "path": "/site" + path, "root_path": "/site"}
                scope.update(query_string=user.encode(), headers=headers)
                sent: List[Any] = []

                async def send(event: Any) -> None:
                    sent.append(event)

                await mounted(scope, None, send)  # type: ignore[arg-type]
                named = {key.decode().title(): value.decode() for key, value in sent[0]["headers"]}
                return sent[0]["status"], named, sent[1]["body"].decode()

        return asyncio.run(visit())


@pytest.fixture(params=["wsgi", "asgi"])
def site(request: pytest.FixtureRequest, server: Server) -> Site:
    return Site(request.param, server.url)


def test_a_page_gets_a_client_that_hears_its_user_alone(site: Site, server: Server) -> None:
    status, headers, body = site.ask("POST", "/shaveet/client", "alice")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "application/json", "no-store")
    made = json.loads(body)
    Shaveet(server.url).publish("user-bob", "for bob")
    Shaveet(server.url).publish("user-alice", "for alice")
    heard = [message["data"] for message in Page(server.url, **made).poll() if not message["system"]]
    assert heard == ["for alice"]
    assert json.loads(site.ask("POST", "/shaveet/client", "alice")[2])["client_id"] != made["client_id"]


def test_a_page_hears_the_channels_that_the_site_gives_it(site: Site, server: Server) -> None:
    other = Site(site._kind, server.url, channels=lambda user: [f"inbox of {user}", "news"])
    made = json.loads(other.ask("POST", "/shaveet/client", "carol")[2])
    client = Shaveet(server.url)
    assert sorted(client.get_client_channels(made["client_id"])) == ["inbox of carol", "news"]
    client.publish("user-carol", "not here")
    client.publish("news", "for all")
    heard = [message["data"] for message in Page(server.url, **made).poll() if not message["system"]]
    assert heard == ["for all"]


def test_who_gets_none(site: Site) -> None:
    assert site.ask("POST", "/shaveet/client", "")[0] == 401
    assert site.ask("POST", "/shaveet/client", "alice", header=False)[0] == 405
    status, headers, _ = site.ask("GET", "/shaveet/client", "alice")
    assert (status, headers["Allow"]) == (405, "POST")
    assert site.ask("GET", "/", "")[2] == ""


def test_a_site_whose_shaveet_is_down_goes_on(site: Site, start: Any) -> None:
    gone = start()
    gone.kill()
    down = Site(site._kind, gone.url)
    assert down.ask("POST", "/shaveet/client", "alice")[0] == 503
    status, _, html = down.ask("GET", "/", "alice")
    assert status == 200 and '"client": null' in html and '"path": "/site/shaveet/client"' in html


def test_no_value_breaks_out_of_the_html() -> None:
    client = page.Client("</script><script>alert(1)//", "k")
    html = page.html(client, 'http://push"onload="x', "/<!--", nonce='"n')
    assert html.count("<script") == 2 and html.count("</script>") == 2
    assert '<script src="http://push&quot;onload=&quot;x/static/shaveet.js" nonce="&quot;n">' in html
    assert "<!--" not in html
