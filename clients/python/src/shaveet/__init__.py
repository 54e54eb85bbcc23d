"""Publish to the pages of your site through a Shaveet push server.

    from shaveet import Shaveet

    shaveet = Shaveet("http://127.0.0.1:8082")
    shaveet.publish("room", {"text": "hello"})

For asyncio there is ``shaveet.aio.AsyncShaveet``; for pages ``shaveet.wsgi``, ``shaveet.asgi`` and ``shaveet.django``.
"""

from .batch import Pending
from .client import Batch, Shaveet
from .errors import (
    BatchError,
    BrokerAway,
    CallError,
    Forbidden,
    InvalidArguments,
    InvalidRequest,
    LimitReached,
    ShaveetError,
    Unavailable,
    UnknownChannel,
    UnknownClient,
    UnknownMethod,
)
from .proxy import ServerProxy
from .results import ChannelInfo, ClientInfo, Fate, History, Message, Names, Published

__all__ = [
    "Batch",
    "BatchError",
    "BrokerAway",
    "CallError",
    "ChannelInfo",
    "ClientInfo",
    "Fate",
    "Forbidden",
    "History",
    "InvalidArguments",
    "InvalidRequest",
    "LimitReached",
    "Message",
    "Names",
    "Pending",
    "Published",
    "ServerProxy",
    "Shaveet",
    "ShaveetError",
    "Unavailable",
    "UnknownChannel",
    "UnknownClient",
    "UnknownMethod",
]
