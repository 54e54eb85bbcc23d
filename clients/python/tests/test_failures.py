"""Answers that are lost, servers that are killed, and many threads."""

from __future__ import annotations

import collections
import os
import pathlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any, Callable, List, Tuple
from urllib.error import HTTPError

import pytest
from support import Line, Page, Server
from test_methods import fresh

from shaveet import Published, Shaveet, Unavailable

MESSAGES = 100


def test_nothing_is_lost_or_doubled_though_every_third_answer_is_lost(connect: Any, start: Any) -> None:
    server = start("--history", "1000")
    chance = random.Random(8)
    line = Line(server.url, lambda: chance.random() < 0.34)
    client = connect(line.url, retry_for=30)
    said = [str(at) for at in range(MESSAGES)]
    places = [client.publish("room", text) for text in said]
    with client.batch() as batch:
        pending = batch.publish("room", "in a batch")
    line.stop()
    assert line.lost > MESSAGES / 10
    held = Shaveet(server.url).history("room").messages
    assert [message.data for message in held] == [*said, "in a batch"]
    assert [place.id for place in [*places, pending.result()]] == [message.id for message in held]


def test_what_may_have_been_done_is_not_done_again(connect: Any, start: Any) -> None:
    server = start()
    line = Line(server.url, lambda: True)
    client = connect(line.url, retry_for=30)
    with pytest.raises(Unavailable) as raised:
        client.new_message("alice", "hello", "room")
    assert raised.value.maybe_done and line.answers == 1
    with pytest.raises(Unavailable):
        with client.batch() as batch:
            batch.publish("room", "x")
            batch.new_message("alice", "hello", "room")
    assert line.answers == 2
    line.stop()
    assert [m.data for m in Shaveet(server.url).history("room").messages] == ["hello", "x", "hello"]


def test_a_server_that_does_not_answer_in_time(connect: Any, start: Any) -> None:
    server: Server = start()
    # Long enough for the calls before and after, however busy the machine is.
    client = connect(server.url, timeout=2, retry_for=0)
    client.publish("room", "before")
    with server.stopped(), pytest.raises(Unavailable) as raised:
        client.publish("room", "meanwhile")
    assert raised.value.maybe_done
    client.publish("room", "after")


EVERYTHING = sorted(f"{name} {at}" for name in range(4) for at in range(MESSAGES))


def publish_everything(client: Shaveet, restart: Callable[[], None]) -> List[Tuple[str, Published]]:
    """Four threads publish; three times in between the server is started again. What came back, in that order."""
    published: List[Tuple[str, Published]] = []
    grown = threading.Condition()
    restarted = 0

    def goes_on() -> bool:
        """Nobody is done before the last time."""
        return restarted == 3 or len(published) < (restarted + 1) * MESSAGES + MESSAGES // 2

    def publish(name: int) -> None:
        for at in range(MESSAGES):
            text = f"{name} {at}"
            with grown:
                assert grown.wait_for(goes_on, 60)
            placed = client.publish("room", text)
            with grown:
                published.append((text, placed))
                grown.notify_all()

    with ThreadPoolExecutor(4) as pool:
        deeds = [pool.submit(publish, name) for name in range(4)]
        for restarts in range(1, 4):
            with grown:
                assert grown.wait_for(lambda: len(published) >= restarts * MESSAGES, 60)
            restart()
            with grown:
                restarted = restarts
                grown.notify_all()
        for deed in deeds:
            deed.result()
    assert sorted(text for text, _ in published) == EVERYTHING
    return published


def test_nothing_is_lost_or_doubled_by_a_restart_with_state_under_publishers(start: Any, tmp_path: pathlib.Path) -> None:
    """The keys of idempotency outlive the process, as the messages do: a call that was done and not answered is not done again."""
    server: Server = start("--history", "10000", "--state", str(tmp_path / "state"))
    client = Shaveet(server.url, retry_for=60)
    key = client.create_client("page")
    client.subscribe("page", "room")
    heard: List[str] = []

    def listen() -> None:
        page = Page(server.url, "page", key)
        while len(heard) < len(EVERYTHING):
            try:
                messages = page.poll()
            except HTTPError:
                raise
            except (OSError, HTTPException):
                continue
            heard.extend(message["data"] for message in messages if not message.get("system"))

    def restart() -> None:
        server.stop()
        server.start()

    with ThreadPoolExecutor(1) as pool:
        page = pool.submit(listen)
        published = publish_everything(client, restart)
        page.result()
    assert sorted(heard) == EVERYTHING
    assert len({epoch(placed) for _, placed in published}) == 1
    held = client.history("room", limit=1000).messages
    by_id = {message.id: message.data for message in held if not message.system}
    assert by_id == {placed.id: text for text, placed in published}
    assert heard == [by_id[number] for number in sorted(by_id)]


def test_a_server_that_is_killed_and_started_again_under_publishers(start: Any) -> None:
    """Whoever publishes notices nothing; within the life of a server nothing is there twice."""
    server: Server = start("--history", "10000")
    client = Shaveet(server.url, retry_for=60)

    def restart() -> None:
        server.kill()
        server.start()

    published = publish_everything(client, restart)
    lives = collections.Counter(epoch(placed) for _, placed in published)
    assert len(lives) == 4, lives
    places = [(epoch(placed), placed.id) for _, placed in published]
    assert len(places) == len(set(places))
    held = client.history("room", limit=1000).messages
    by_id = {message.id: message.data for message in held}
    last = [(text, placed.id) for text, placed in published if epoch(placed) == epoch(published[-1][1])]
    assert last and all(by_id[number] == text for text, number in last)
    assert max(collections.Counter(by_id.values()).values()) == 1


def epoch(placed: Published) -> str:
    """The life of the server in which it was published: a position is ``EPOCH-SEQ``."""
    return placed.position.split("-")[0]


def test_a_thousand_threads_with_one_client(start: Any) -> None:
    server = start("--history", "2000")
    client = Shaveet(server.url, retry_for=60)
    together = threading.Barrier(1000)
    failed: List[BaseException] = []

    def publish(at: int) -> None:
        try:
            together.wait()
            client.publish("room", str(at))
        except BaseException as error:
            failed.append(error)

    threading.stack_size(256 << 10)
    threads = [threading.Thread(target=publish, args=(at,)) for at in range(1000)]
    threading.stack_size(0)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(int(m.data) for m in client.history("room").messages) == list(range(1000))


def test_connections_are_used_again_and_never_shared_with_a_child(start: Any) -> None:
    server = start()
    opened = 0

    class Counting(Line):
        def _carry(self, inner: Any) -> None:
            nonlocal opened
            opened += 1
            super()._carry(inner)

    line = Counting(server.url, lambda: False)
    client = Shaveet(line.url)
    for at in range(20):
        client.publish("room", at)
    assert opened == 1
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if client.publish("room", "child").id == 21 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert client.publish("room", "parent").id == 22
    assert opened == 2
    line.stop()


def test_a_connection_that_the_server_has_closed_meanwhile_costs_nothing(connect: Any, start: Any) -> None:
    server = start()
    client = connect(server.url)
    room = fresh("room")
    client.new_message("alice", "before", room)
    server.stop()
    server.start()
    client.new_message("alice", "after", room)  # must not be repeated, so must not have been sent into the void
    assert [m.data for m in client.history(room).messages] == ["after"]


def test_a_server_that_is_not_there(connect: Any, start: Any) -> None:
    server = start()
    client = connect(server.url, retry_for=0.5)
    server.kill()
    with pytest.raises(Unavailable, match="cannot connect") as raised:
        client.publish("room", "x")
    assert not raised.value.maybe_done
