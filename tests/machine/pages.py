"""Pages of every transport that listen through nginx, and a web application that publishes until the standard input ends.

Says `listening` when all pages are there, and at the end, as JSON, what happened: how many messages there were, whether each page
has had each of them once and in order, how many gaps were told, how often a connection broke, and how often a page was sent away.
Exits with 1 if a message was lost or came twice.
"""

import asyncio
import base64
import json
import os
import struct
import sys
import urllib.parse

NGINX = ("127.0.0.1", 80)
API = ("127.0.0.1", 8082)
HOST = "push.example.org"
CHANNEL = f"room{os.getpid()}"
POLLS, STREAMS, SOCKETS = 60, 20, 20
PUBLISH_EVERY_S = 0.02
RETRY_S = 0.1


class Broken(Exception):
    """A connection ended, or an answer is none."""


class Page:
    """One client. `listen` goes on for ever, and begins anew where it was when a connection breaks."""

    def __init__(self, name, key):
        self.query = "client_id=" + urllib.parse.quote(f"{name}_!!_{key}")
        self.since = ""
        self.heard = []
        self.gaps = self.broken = self.sent_away = 0

    async def go_on(self):
        while True:
            writer = None
            try:
                reader, writer = await asyncio.open_connection(*NGINX)
                await self.listen(reader, writer)
            except (Broken, OSError, asyncio.IncompleteReadError):
                self.broken += 1
                await asyncio.sleep(RETRY_S)
            finally:
                if writer:
                    writer.close()

    def ask(self, writer, path, *headers):
        target = f"{path}?{self.query}&since={self.since}"
        writer.write("\r\n".join([f"GET {target} HTTP/1.1", f"Host: {HOST}", *headers, "", ""]).encode())

    def take(self, answer):
        for message in answer["messages"]:
            if not message["system"]:
                self.heard.append(int(message["data"]))
        self.gaps += sum(is_loss(gap) for gap in answer["gaps"])
        self.since = answer["since"]


class Poll(Page):
    async def listen(self, reader, writer):
        while True:
            self.ask(writer, "/message_updates")
            status, headers = await head(reader)
            body = await reader.readexactly(int(headers["content-length"]))
            if status != 200:
                raise Broken(body)
            answer = json.loads(body)
            self.take(answer)
            if answer["retry_ms"]:
                self.sent_away += 1
                await asyncio.sleep(answer["retry_ms"] / 1000)
            if headers.get("connection") == "close":
                return  # nginx says so after a thousand requests


class Stream(Page):
    async def listen(self, reader, writer):
        self.ask(writer, "/events")
        status, headers = await head(reader)
        if status != 200:
            raise Broken(status)
        event = {}
        async for line in lines(reader, headers.get("transfer-encoding") == "chunked"):
            name, _, value = line.partition(": ")
            if line:
                event[name] = value
                continue
            if event.get("event") == "gap":
                self.gaps += is_loss(json.loads(event["data"]))
            elif "data" in event and "event" not in event:
                self.take({"messages": [json.loads(event["data"])], "gaps": [], "since": event["id"]})
            event = {}


class Socket(Page):
    async def listen(self, reader, writer):
        key = base64.b64encode(os.urandom(16)).decode()
        wish = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        self.ask(writer, "/socket", *wish)
        status, _ = await head(reader)
        if status != 101:
            raise Broken(status)
        while True:
            code, payload = await frame(reader)
            if code == 8:
                raise Broken(payload)
            if code == 9:
                writer.write(masked(10, payload))
            if code == 1:
                self.take(json.loads(payload))
                writer.write(masked(1, json.dumps({"ack": self.since}).encode()))


def is_loss(gap):
    """Joins and leaves alone are none: when a crowd before this one is collected there are a hundred at once."""
    return not gap.get("system", False)


async def head(reader):
    """Status and headers of an answer."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *rest = text.split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}


async def lines(reader, is_chunked):
    """The lines of a body without end."""
    rest = ""
    while True:
        size = int(await reader.readline() or b"0", 16) if is_chunked else 1
        piece = await reader.readexactly(size)
        if is_chunked:
            await reader.readexactly(2)
        if not piece:
            raise Broken("the stream has ended")
        *whole, rest = (rest + piece.decode()).split("\n")
        for line in whole:
            yield line


async def frame(reader):
    """Opcode and payload of a WebSocket frame of a server."""
    code, length = await reader.readexactly(2)
    if length == 126:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", await reader.readexactly(8))
    return code & 15, await reader.readexactly(length)


def masked(code, payload):
    """A short WebSocket frame of a page: the mask of zeros leaves the payload as it is."""
    return bytes([0x80 | code, 0x80 | len(payload), 0, 0, 0, 0]) + payload


class Application:
    """The web application, over a connection that stays."""

    reader = writer = None
    broken = 0

    async def call(self, method, **params):
        """Calls until there is an answer: what it calls may be called twice."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        while True:
            try:
                if not self.writer:
                    self.reader, self.writer = await asyncio.open_connection(*API)
                self.writer.write(f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                _, headers = await head(self.reader)
                answer = json.loads(await self.reader.readexactly(int(headers["content-length"])))
                break
            except (OSError, asyncio.IncompleteReadError):
                self.broken += 1
                self.writer = None
                await asyncio.sleep(RETRY_S)
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']}")
        return answer["result"]


async def main():
    application = Application()
    pages = []
    for number, kind in enumerate([Poll] * POLLS + [Stream] * STREAMS + [Socket] * SOCKETS):
        name = f"{kind.__name__}{number}.{os.getpid()}"
        key = await application.call("create_client", client_id=name)
        await application.call("subscribe", client_id=name, channel_name=CHANNEL)
        pages.append(kind(name, key))
    listening = [asyncio.create_task(page.go_on()) for page in pages]

    count = await publish(application, 0)
    await all_have(pages, count)
    print("listening", flush=True)
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not ended.done():
        count = await publish(application, count)
        await asyncio.sleep(PUBLISH_EVERY_S)
    await all_have(pages, count)
    for task in listening:
        task.cancel()

    wrong = [page.query.partition("_")[0] for page in pages if page.heard != list(range(count))]
    print(json.dumps({
        "pages": len(pages), "messages": count, "lost or repeated": wrong,
        "gaps": sum(page.gaps for page in pages), "broken": sum(page.broken for page in pages) + application.broken,
        "sent away": sum(page.sent_away for page in pages),
    }))
    return 1 if wrong else 0


async def publish(application, number):
    once = {"idempotency_key": f"{os.getpid()}-{number}"}
    await application.call("publish", channel=CHANNEL, data=str(number), options=once)
    return number + 1


async def all_have(pages, count):
    """Until each page has had the last message, or cannot get it any more."""
    last = count - 1
    for _ in range(1200):
        if all(page.heard and page.heard[-1] == last for page in pages):
            return
        await asyncio.sleep(0.05)


raise SystemExit(asyncio.run(main()))
