"""The methods of the server, each written once.

A method here makes a `Call` and hands it to ``_do`` of whose method it is: `shaveet.Shaveet` carries it out, the
asynchronous client gives back something to await, a batch notes it down.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, Generic, Iterable, List, Mapping, Optional, TypeVar, Union

from .results import ChannelInfo, ClientInfo, Fate, History, Names, Published, read, read_history

T = TypeVar("T")
Name = Union[str, int]
"""An id of a client or a name of a channel; a number is the same as its digits."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A call, and how its result is read."""

    method: str
    params: Union[Dict[str, Any], List[Any]]
    read: Callable[[Any], T]
    is_repeatable: bool
    """Carried out twice it comes to the same as once, so it may be sent again if the answer is lost."""

    def request(self, id: int) -> Dict[str, Any]:
        """The call as JSON-RPC 2.0 has it."""
        return {"jsonrpc": "2.0", "method": self.method, "params": self.params, "id": id}


class Api:
    """The methods that a Shaveet server has.

    Ids of clients and names of channels are any text; numbers are the same as their digits.
    """

    def _do(self, call: Call[T]) -> T:
        raise NotImplementedError

    # --- clients: the pages -------------------------------------------------------------------------------------------

    def create_client(self, client_id: Name) -> str:
        """Makes a client for a page and gives its key, which the page needs to listen; of one that exists, its key.

        So nobody outside may choose the id: make it unguessable, or check who is logged in.
        """
        return self._do(Call("create_client", {"client_id": client_id}, str, True))

    def rotate_key(self, client_id: Name) -> str:
        """Gives the client another key. It keeps its place; pages that have the old key are turned away."""
        return self._do(Call("rotate_key", {"client_id": client_id}, str, False))

    def kill_client(self, client_id: Name) -> None:
        """Forgets the client at once: it leaves its channels, and its pages are told that it is gone."""
        return self._do(Call("kill_client", {"client_id": client_id}, _nothing, False))

    def client_info(self, client_id: Name) -> ClientInfo:
        """What is known of a client: whether it is here, by what it listens, what it has acknowledged."""
        return self._do(Call("client_info", {"client_id": client_id}, partial(read, ClientInfo), True))

    def list_clients(self, prefix: str = "", after: Optional[int] = None, limit: Optional[int] = None) -> Names:
        """Ids of clients that begin so, a page at a time: give the ``after`` of one page to get the next."""
        return self._do(Call("list_clients", _page(prefix, after, limit), partial(_names, "clients"), True))

    # --- subscriptions ------------------------------------------------------------------------------------------------

    def subscribe(self, client_id: Name, channel_name: Name, *, since: Optional[str] = None) -> None:
        """From now on the client gets what is published in the channel; with ``since`` also what came after that
        position, as far as the channel still holds it."""
        params: Dict[str, Any] = {"client_id": client_id, "channel_name": channel_name}
        if since is not None:
            params["options"] = {"since": since}
        return self._do(Call("subscribe", params, _nothing, True))

    def unsubscribe(self, client_id: Name, channel_name: Name) -> None:
        """The client gets no more of what is published in the channel."""
        params = {"client_id": client_id, "channel_name": channel_name}
        return self._do(Call("unsubscribe", params, _nothing, True))

    def subscribe_many(self, channels: Mapping[str, Iterable[Name]]) -> None:
        """Subscribes the clients of ``{channel: [client, ...]}``. Stops at the first that is not there."""
        return self._do(Call("subscribe_many", {"channels": _lists(channels)}, _nothing, True))

    def unsubscribe_many(self, channels: Mapping[str, Iterable[Name]]) -> None:
        """Unsubscribes the clients of ``{channel: [client, ...]}``. Stops at the first that is not there."""
        return self._do(Call("unsubscribe_many", {"channels": _lists(channels)}, _nothing, True))

    def unsubscribe_all_channel(self, channel_name: Name, exclude: Iterable[Name] = ()) -> None:
        """Unsubscribes all clients of the channel but those in ``exclude``."""
        params = {"channel_name": channel_name, "exclude": list(exclude)}
        return self._do(Call("unsubscribe_all_channel", params, _nothing, True))

    def get_channel_clients(self, channel_name: Name) -> List[str]:
        """Who is in the channel and here now. Ids with ``admin`` in them are hidden."""
        return self._do(Call("get_channel_clients", {"channel_name": channel_name}, list, True))

    def get_client_channels(self, client_id: Name) -> List[str]:
        """The channels to which the client is subscribed."""
        return self._do(Call("get_client_channels", {"client_id": client_id}, list, True))

    # --- messages -----------------------------------------------------------------------------------------------------

    def publish(
        self,
        channel: Name,
        data: Any,
        *,
        sender: Any = None,
        idempotency_key: Optional[str] = None,
        exclude: Iterable[Name] = (),
        ttl_ms: Optional[int] = None,
    ) -> Published:
        """Publishes in a channel: text as it is, anything else as its JSON text.

        ``sender`` is whom pages see as its author, ``exclude`` are clients that do not get it, and after ``ttl_ms``
        nobody gets it any more. It is published once, however often it has to be sent, for each idempotency key within
        five minutes; a key is made for you, and yours is for repeating the whole step that publishes.
        """
        options = _publishing(sender, idempotency_key, exclude, ttl_ms)
        params = {"channel": channel, "data": data, "options": options}
        return self._do(Call("publish", params, partial(read, Published), True))

    def broadcast(
        self,
        channels: Iterable[Name],
        data: Any,
        *,
        sender: Any = None,
        idempotency_key: Optional[str] = None,
        exclude: Iterable[Name] = (),
        ttl_ms: Optional[int] = None,
    ) -> List[Published]:
        """Publishes the same in several channels, as `publish` does in one; gives a place for each, in order."""
        options = _publishing(sender, idempotency_key, exclude, ttl_ms)
        params = {"channels": list(channels), "data": data, "options": options}
        return self._do(Call("broadcast", params, _places, True))

    def new_message(self, client_id: Any, message: Any, channel_name: Name, system: bool = False) -> None:
        """Publishes as the original Shaveet did; ``client_id`` is the sender. Prefer `publish`: an answer that is lost
        leaves it open whether this has happened, so it is not repeated."""
        params = {"client_id": client_id, "message": message, "channel_name": channel_name, "system": system}
        return self._do(Call("new_message", params, _nothing, False))

    def history(self, channel: Name, since: Optional[str] = None, limit: Optional[int] = None) -> History:
        """What the channel holds after a position, or from its beginning: 1000 messages and 256 KiB at most."""
        params = {"channel": channel, "since": since, "limit": limit}
        return self._do(Call("history", params, read_history, True))

    def why(self, client_id: Name, channel: Name, id: int) -> Fate:
        """What became of a message of that number for a client."""
        params = {"client_id": client_id, "channel": channel, "id": id}
        return self._do(Call("why", params, partial(read, Fate), True))

    # --- channels -----------------------------------------------------------------------------------------------------

    def channel_info(self, channel: Name) -> ChannelInfo:
        """What is known of a channel: its subscribers, what it holds, its position."""
        return self._do(Call("channel_info", {"channel": channel}, partial(read, ChannelInfo), True))

    def list_channels(self, prefix: str = "", after: Optional[int] = None, limit: Optional[int] = None) -> Names:
        """Names of channels that begin so, a page at a time: give the ``after`` of one page to get the next."""
        return self._do(Call("list_channels", _page(prefix, after, limit), partial(_names, "channels"), True))

    # --- the server ---------------------------------------------------------------------------------------------------

    def list_methods(self) -> List[str]:
        """``system.list_methods``: the methods that the original Shaveet had."""
        return self._do(Call("system.list_methods", {}, _method_names, True))

    def describe(self) -> Dict[str, Any]:
        """``system.describe``: the server's name and its methods, as the original described itself."""
        return self._do(Call("system.describe", {}, dict, True))

    def call(self, method: str, params: Union[Dict[str, Any], List[Any]], *, is_repeatable: bool = False) -> Any:
        """Calls any method by its name, and gives the result as it is. ``is_repeatable`` says that it may be sent again
        when its answer is lost."""
        return self._do(Call(method, params, _as_it_is, is_repeatable))


def _publishing(
    sender: Any, idempotency_key: Optional[str], exclude: Iterable[Name], ttl_ms: Optional[int]
) -> Dict[str, Any]:
    options = {
        "from": sender,
        "idempotency_key": secrets.token_hex(16) if idempotency_key is None else idempotency_key,
        "exclude": list(exclude),
        "ttl_ms": ttl_ms,
    }
    return {name: value for name, value in options.items() if value is not None}


def _page(prefix: str, after: Optional[int], limit: Optional[int]) -> Dict[str, Any]:
    return {"prefix": prefix, "after": after, "limit": limit}


def _lists(channels: Mapping[str, Iterable[Name]]) -> Dict[str, List[Name]]:
    return {channel: list(clients) for channel, clients in channels.items()}


def _names(what: str, result: Dict[str, Any]) -> Names:
    return Names(result[what], result["after"])


def _places(result: List[Dict[str, Any]]) -> List[Published]:
    return [read(Published, place) for place in result]


def _method_names(result: List[Dict[str, Any]]) -> List[str]:
    return [method["name"] for method in result]


def _nothing(result: Any) -> None:
    return None


def _as_it_is(result: Any) -> Any:
    return result
