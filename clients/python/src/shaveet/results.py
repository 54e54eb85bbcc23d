"""What calls give. Members that a newer server adds are passed over."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Type, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Published:
    """Where a message stands in its channel."""

    id: int
    """Its number in the channel, counted from 1."""
    position: str
    """The position right behind it, over all channels."""


@dataclass(frozen=True)
class Message:
    """A message as its channel holds it."""

    id: int
    sender: Any
    """Who published it: as a rule a client's id."""
    data: str
    """The text; what was published as another value than a string is its JSON text."""
    system: bool
    """The server says it: somebody joins or leaves, a channel is new."""
    reason: Optional[str] = None
    """Of joins and leaves: ``subscribed``, ``returned``, ``unsubscribed``, ``expired`` or ``killed``."""


@dataclass(frozen=True)
class History:
    """Some of what a channel holds."""

    messages: List[Message]
    gap: bool
    """Something that would have been among them is lost."""
    position: str
    """Ask from here for what comes next."""


@dataclass(frozen=True)
class ChannelInfo:
    """What the server knows of a channel."""

    subscribers: int
    """Clients that are subscribed, those included that are away and may come back."""
    active: int
    """Those of them that are here."""
    parked: int
    """Those of them that listen at this moment."""
    messages: int
    bytes: int
    next_id: int
    position: str


@dataclass(frozen=True)
class ClientInfo:
    """What the server knows of a client."""

    here: bool
    """It is here; if not it is away, and may come back."""
    idle_ms: int
    parked: int
    """How many of its pages listen at this moment."""
    transports: List[str]
    """By what they do: ``poll``, ``resume``, ``events``, ``socket``."""
    subscriptions: int
    acknowledged: str
    """The position up to which it has had everything."""


@dataclass(frozen=True)
class Fate:
    """What became of a message for a client."""

    state: str
    """``delivered``, ``waiting``, ``on_its_way``, ``not_subscribed``, ``excluded``, ``expired``, ``lost`` or
    ``unpublished``."""
    reason: Optional[str] = None
    """Of what is lost: the limit that was reached."""
    parked: Optional[bool] = None
    """Of what waits: whether a page of the client listens."""
    by: Optional[str] = None
    """Of what was delivered: by ``resume`` or ``poll``."""
    ms_ago: Optional[int] = None
    at_least_ms_ago: Optional[int] = None


@dataclass(frozen=True)
class Names:
    """A page of a list of names."""

    names: List[str]
    """May be few, even none, with more behind it."""
    after: Optional[int]
    """Asks for the next page; ``None`` behind the last."""


def read(kind: Type[R], result: Dict[str, Any]) -> R:
    """The result as one of these classes."""
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in result.items() if name in known})


def read_history(result: Dict[str, Any]) -> History:
    """The result of ``history``. What is called ``from`` on the wire is called ``sender`` here."""
    messages = [read(Message, {**message, "sender": message["from"]}) for message in result["messages"]]
    return History(messages, result["gap"], result["position"])
