"""Shaveet in a Django project.

Settings, all of which may be left out::

    INSTALLED_APPS = [..., "shaveet.django"]
    SHAVEET = {
        "URL": "http://127.0.0.1:8082",        # where the project calls it; or unix:/run/shaveet/rpc.sock
        "PAGES_URL": "http://127.0.0.1:8082",  # where pages reach it
        "TOKEN": None,                         # that of --rpc-token-file
        "CHANNELS": "site.push.channels",      # a function: of the user's pages; by default user_channel alone
    }

In the project's urls ``path("shaveet/", include("shaveet.django.urls"))``, in a template ``{% load shaveet %}`` and
``{% shaveet %}``, and where something happens ``publish(user_channel(user), {...})``.
"""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from typing import Any, Callable, Dict, Iterable, Optional

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from .. import client, page
from ..api import Name
from ..errors import ShaveetError


def setting(name: str, default: Any) -> Any:
    """A member of ``settings.SHAVEET``."""
    values: Dict[str, Any] = getattr(settings, "SHAVEET", {})
    return values.get(name, default)


@lru_cache(maxsize=None)
def shaveet() -> client.Shaveet:
    """The project's server: one object for all threads."""
    return client.Shaveet(setting("URL", "http://127.0.0.1:8082"), token=setting("TOKEN", None))


def user_channel(user: Any) -> str:
    """The channel of all pages of a user."""
    return f"user-{user.pk}"


def publish(channel: Name, data: Any, *, using: Optional[str] = None, **options: Any) -> None:
    """Publishes when the transaction that is open is committed, and not at all if it is not; at once if none is open.

    When Shaveet does not answer then, that is logged: what was committed stays. ``options`` are those of
    `shaveet.Shaveet.publish`.
    """
    deed = partial(shaveet().publish, channel, data, **options)
    transaction.on_commit(deed, using=using, robust=True)


def new_client(user: Any) -> page.Client:
    """A client for a page of this user, subscribed to the user's channels."""
    named: Optional[str] = setting("CHANNELS", None)
    channels: Callable[[Any], Iterable[Name]] = import_string(named) if named else _own_channel
    with shaveet().batch() as batch:
        client_id, key = page.begin(batch, user.pk, channels(user))
    return page.Client(client_id, key.result())


def try_new_client(user: Any) -> Optional[page.Client]:
    """The same, or nothing if Shaveet does not answer, which is logged."""
    try:
        return new_client(user)
    except ShaveetError as error:
        logging.getLogger("shaveet").error("%s", error)
        return None


def _own_channel(user: Any) -> Iterable[Name]:
    return [user_channel(user)]
