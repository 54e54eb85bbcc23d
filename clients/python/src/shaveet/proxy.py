"""The Python client of the original Shaveet, for code that was written for it."""

from __future__ import annotations

from typing import Any

from .client import Shaveet


class ServerProxy:
    """Any attribute is a method: ``ServerProxy("http://localhost:8082").new_message("alice", "hello", "room", False)``.

    Results are as the server gives them. The one difference: a call that failed raises a `CallError`, where the original
    returned ``None``. The parameters are those of `shaveet.Shaveet`, ``url`` first.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._shaveet = Shaveet(*args, **options)

    def __getattr__(self, name: str) -> _Method:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Method(self._shaveet, name)


class _Method:
    def __init__(self, shaveet: Shaveet, name: str) -> None:
        self._shaveet = shaveet
        self._name = name

    def __getattr__(self, name: str) -> _Method:
        return _Method(self._shaveet, f"{self._name}.{name}")

    def __call__(self, *args: Any, **named: Any) -> Any:
        if args and named:
            raise TypeError(f"{self._name}() takes arguments by place or by name, not both")
        return self._shaveet.call(self._name, named or list(args))
