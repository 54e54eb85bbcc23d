"""Many calls in one request."""

from __future__ import annotations

from typing import Any

import pytest
from support import Server
from test_methods import fresh

from shaveet import BatchError, Unavailable, UnknownClient


def test_a_batch_is_done_in_order_and_gives_each_its_result(either: Any) -> None:
    alice, room = fresh("alice"), fresh("room")
    with either.batch() as batch:
        key = batch.create_client(alice)
        subscribed = batch.subscribe(alice, room)
        placed = batch.publish(room, "x")
        clients = batch.get_channel_clients(room)
        with pytest.raises(RuntimeError):
            key.result()
    assert (len(key.result()), subscribed.result(), placed.result().id) == (32, None, 2)
    assert clients.result() == [alice]


def test_what_fails_in_a_batch_is_told_and_the_rest_is_done(either: Any) -> None:
    room = fresh("room")
    with pytest.raises(BatchError, match="1 of 3 calls failed.*nobody") as raised:
        with either.batch() as batch:
            first = batch.publish(room, "a")
            bad = batch.subscribe("nobody", room)
            last = batch.publish(room, "b")
    assert [type(error) for error in raised.value.errors] == [UnknownClient]
    assert (first.result().id, last.result().id) == (1, 2)
    with pytest.raises(UnknownClient):
        bad.result()


def test_a_block_that_raises_sends_nothing(either: Any) -> None:
    room = fresh("room")
    with pytest.raises(KeyError):
        with either.batch() as batch:
            batch.publish(room, "a")
            raise KeyError
    assert either.list_channels(room).names == []
    with either.batch():
        pass


def test_more_calls_than_the_server_takes_in_one_batch(either: Any, server: Server) -> None:
    room = fresh("room")
    with either.batch() as batch:
        small = [batch.publish(room, str(at)) for at in range(2500)]
        large = [batch.publish(room, "x" * 300_000) for _ in range(16)]
    assert [pending.result().id for pending in small + large] == list(range(1, 2517))


def test_a_batch_without_an_answer_fails_whole(connect: Any, start: Any) -> None:
    server = start()
    client = connect(server.url, retry_for=0)
    server.kill()
    with pytest.raises(Unavailable):
        with client.batch() as batch:
            pending = batch.publish("room", "x")
    with pytest.raises(Unavailable):
        pending.result()
