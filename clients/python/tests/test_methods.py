"""Every method, by both clients, against the real server."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from support import Page, Server

from shaveet import (
    ChannelInfo,
    Fate,
    Forbidden,
    InvalidArguments,
    InvalidRequest,
    LimitReached,
    Message,
    Published,
    ServerProxy,
    UnknownChannel,
    UnknownClient,
    UnknownMethod,
)


def fresh(what: str) -> str:
    """A name that no other test uses."""
    return f"{what}-{secrets.token_hex(4)}"


def test_a_page_hears_what_is_published(either: Any, server: Server) -> None:
    alice, room = fresh("alice"), fresh("room")
    key = either.create_client(alice)
    assert either.create_client(alice) == key
    assert either.subscribe(alice, room) is None
    page = Page(server.url, alice, key)
    assert page.poll()[0]["reason"] == "subscribed"
    placed = either.publish(room, "höre 😀 \x00", sender="bob")
    assert placed == Published(2, placed.position)
    heard = page.hears("höre 😀 \x00")
    assert (heard["id"], heard["from"], heard["channel"]) == (2, "bob", room)
    either.publish(room, {"text": ["a", 1, None]})
    assert page.hears('{"text":["a",1,null]}')["from"] is None
    either.new_message("carol", "old", room)
    assert page.hears("old")["from"] == "carol"


def test_who_is_where(either: Any) -> None:
    alice, bob, room, hall = fresh("alice"), fresh("bob"), fresh("room"), fresh("hall")
    either.create_client(alice)
    either.create_client(bob)
    either.subscribe_many({room: [alice, bob], hall: (alice,)})
    assert sorted(either.get_channel_clients(room)) == sorted([alice, bob])
    assert sorted(either.get_client_channels(alice)) == sorted([room, hall])
    either.unsubscribe(alice, room)
    either.unsubscribe_many({room: [bob]})
    assert either.get_channel_clients(room) == []
    either.subscribe_many({room: [alice, bob]})
    either.unsubscribe_all_channel(room, exclude=[bob])
    assert either.get_channel_clients(room) == [bob]
    either.kill_client(bob)
    with pytest.raises(UnknownClient) as raised:
        either.kill_client(bob)
    assert (raised.value.code, raised.value.method) == (-32001, "kill_client") and bob in str(raised.value)


def test_publishing_only_once_to_others_and_for_a_while(either: Any) -> None:
    alice, room, hall = fresh("alice"), fresh("room"), fresh("hall")
    either.create_client(alice)
    either.subscribe(alice, room)
    key = fresh("key")
    once = either.publish(room, "a", idempotency_key=key)
    assert either.publish(room, "a", idempotency_key=key) == once
    assert either.publish(room, "a").id == once.id + 1
    excluded = either.publish(room, "b", exclude=[alice])
    assert either.why(alice, room, excluded.id).state == "excluded"
    waiting = either.publish(room, "c", ttl_ms=600_000)
    assert either.why(alice, room, waiting.id) == Fate("waiting", parked=False)
    places = either.broadcast([room, hall], {"x": 1}, sender="all")
    assert [place.id for place in places] == [waiting.id + 1, 1]
    assert either.broadcast([], "nobody") == []


def test_history_goes_on_from_its_position(either: Any) -> None:
    room = fresh("room")
    for text in "abc":
        either.publish(room, text, sender="s")
    first = either.history(room, limit=2)
    assert (first.messages, first.gap) == ([Message(1, "s", "a", False), Message(2, "s", "b", False)], False)
    rest = either.history(room, first.position)
    assert [message.data for message in rest.messages] == ["c"]
    assert either.history(room, since=rest.position).messages == []
    alice = fresh("alice")
    either.create_client(alice)
    either.subscribe(alice, room, since=first.position)
    assert either.why(alice, room, 3).state == "waiting"
    assert either.history(room).messages[-1].reason == "subscribed"


def test_what_is_known_of_channels_and_clients(either: Any) -> None:
    alice, room = fresh("alice"), fresh("room")
    key = either.create_client(alice)
    either.subscribe(alice, room)
    info = either.channel_info(room)
    assert info == ChannelInfo(1, 1, 0, 1, info.bytes, 2, info.position) and info.bytes > 0
    client = either.client_info(alice)
    assert (client.here, client.subscriptions, client.transports, client.parked) == (True, 1, [], 0)
    assert either.rotate_key(alice) != key
    assert either.list_clients(alice).names == [alice]
    assert either.list_channels(prefix=room, limit=10).names == [room]
    names, after = [], None
    while True:
        page = either.list_channels("", after, 3)
        names += page.names
        after = page.after
        if after is None:
            break
    assert room in names and len(names) == len(set(names))


def test_what_the_server_says_of_itself(either: Any) -> None:
    assert "new_message" in either.list_methods()
    assert either.describe()["name"] == "Shaveet"
    assert either.call("get_channel_clients", ["nowhere"]) == []


def test_errors_have_kinds(either: Any) -> None:
    with pytest.raises(UnknownClient):
        either.subscribe("nobody", "room")
    with pytest.raises(UnknownChannel, match="nowhere"):
        either.channel_info("nowhere")
    with pytest.raises(InvalidArguments):
        either.publish("room", "x", ttl_ms=-1)
    with pytest.raises(UnknownMethod, match="no_such_method"):
        either.call("no_such_method", [])
    with pytest.raises(LimitReached, match="--max-name"):
        either.create_client("x" * 70_000)
    with pytest.raises(InvalidRequest, match="413"):
        either.publish("room", "x" * (5 << 20))
    with pytest.raises(ValueError):
        either.publish("room", float("nan"))
    assert either.get_channel_clients("room") == []


def test_the_api_behind_a_socket_and_a_token(connect: Any, start: Any, tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 32 + "\n")
    token.chmod(0o600)
    where = f"unix:{tmp_path}/rpc.sock"
    server = start("--rpc-listen", where, "--rpc-token-file", str(token))
    assert connect(where, token="t" * 32).publish("room", "x").id == 1
    for wrong in (None, "u" * 32):
        with pytest.raises(Forbidden):
            connect(where, token=wrong).publish("room", "x")
    with pytest.raises(Forbidden):  # the listener for pages
        connect(server.url, token="t" * 32).publish("room", "x")


def test_addresses_that_are_none(connect: Any) -> None:
    for url in ("localhost:8082", "ftp://localhost", "unix:", "http://"):
        with pytest.raises(ValueError, match="unix:"):
            connect(url)


def test_old_code_changes_one_import(server: Server) -> None:
    proxy = ServerProxy(server.url)
    alice, room = fresh("alice"), fresh("room")
    assert len(proxy.create_client(alice)) == 32
    assert proxy.subscribe(client_id=alice, channel_name=room) == 1
    assert proxy.new_message(alice, {"a": 1}, room, False) == 1
    assert proxy.subscribe_many({room: [alice]}) == 200
    assert {"name": "subscribe"} in proxy.system.list_methods()
    with pytest.raises(UnknownClient):
        proxy.kill_client("nobody")
