"""What the README says is run as it stands, with the port of the test's server in the place of 8082."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import subprocess
import sys
from typing import Any, Dict, List

import httpx
from support import Page, Server

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def blocks(heading: str, server: Server, language: str = "python") -> List[str]:
    """The code under a heading."""
    section = re.split(r"^##? ", README, flags=re.M)
    (found,) = [part for part in section if part.startswith(heading + "\n")]
    code = re.findall(rf"^```{language}\n(.*?)^```", found, flags=re.M | re.S)
    assert code
    return [block.replace("http://127.0.0.1:8082", server.url.rstrip("/")) for block in code]


def run(code: List[str]) -> Dict[str, Any]:
    names: Dict[str, Any] = {"__name__": "readme"}
    exec(compile("\n".join(code), "README.md", "exec"), names)
    return names


def client_of(html: str) -> Any:
    client = re.search(r'"client_id": "([^"]+)", "key": "([0-9a-f]{32})"', html)
    assert client, html
    return client.groups()


def test_the_first_steps(start: Any) -> None:
    server = start()
    names = run(blocks("shaveet", server))
    shaveet = names["Shaveet"](server.url)
    assert [message.data for message in shaveet.history("orders").messages][:2] == ['{"order":17}', '{"order":0}']
    said = [message.data for message in shaveet.history("room").messages if not message.system]
    assert said == ['{"text":"hello"}', "hello", "one", "two", "hello"]


def test_flask(start: Any) -> None:
    server = start()
    names = run(blocks("Flask", server))
    browser = names["app"].test_client()
    assert 'static/shaveet.js' not in browser.get("/").text
    with browser.session_transaction() as session:
        session["user"] = "alice"
    page = browser.get("/").text
    assert f'<script src="{server.url.rstrip("/")}/static/shaveet.js"></script>' in page
    listening = Page(server.url, *client_of(page))
    assert browser.post("/orders").status_code == 204
    listening.hears('{"type":"order","state":"received"}')
    again = browser.post("/shaveet/client", headers={"X-Shaveet": "1"})
    assert again.json["client_id"].startswith("alice_") and again.headers["Cache-Control"] == "no-store"
    assert browser.post("/shaveet/client").status_code == 405


def test_fastapi(start: Any) -> None:
    server = start()
    names = run(blocks("FastAPI", server))

    async def visit() -> None:
        transport = httpx.ASGITransport(names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as browser:
            assert "shaveet.js" not in (await browser.get("/")).text
            browser.cookies.set("user", "alice")
            listening = Page(server.url, *client_of((await browser.get("/")).text))
            assert (await browser.post("/orders")).status_code == 204
            listening.hears('{"type":"order","state":"received"}')
        await names["push"].aclose()

    asyncio.run(visit())


def test_django(start: Any, tmp_path: Any) -> None:
    """In a process of its own: Django's settings are a process's."""
    server = start()
    settings, urls, receive = blocks("Django", server)
    (template,) = blocks("Django", server, "html")
    project = pathlib.Path(__file__).with_name("django_project.py").read_text()
    for mark, text in {"SETTINGS": settings, "URLS": urls, "RECEIVE": receive}.items():
        project = project.replace(f"# README: {mark}\n", text)
    (tmp_path / "project.py").write_text(project)
    (tmp_path / "page.html").write_text("<!doctype html>" + template)
    path = os.pathsep.join([*sys.path, str(pathlib.Path(__file__).parent)])
    command = [sys.executable, "project.py", server.url]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "all is well\n"), done.stderr
