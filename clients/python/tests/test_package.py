"""The package as it is installed, and its types."""

from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys
import zipfile
from typing import Any

import pytest

from shaveet import Shaveet
from shaveet.aio import AsyncShaveet
from shaveet.api import Api
from shaveet.batch import Calls

PACKAGE = pathlib.Path(__file__).parents[1]

USE = """
from shaveet import Shaveet
from shaveet.aio import AsyncShaveet

def waiting(shaveet: Shaveet) -> int:
    with shaveet.batch() as batch:
        pending = batch.publish("room", "x", ttl_ms=1000)
    return pending.result().id + shaveet.publish("room", "x").id

async def asynchronous(shaveet: AsyncShaveet) -> list[str]:
    async with shaveet.batch() as batch:
        key = batch.create_client("a")
    return [key.result(), *(await shaveet.get_channel_clients("room"))]
"""


def test_the_wheel_has_all_of_it(tmp_path: Any) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--disable-pip-version-check", "-w", str(tmp_path), str(PACKAGE)], check=True)
    (wheel,) = tmp_path.glob("shaveet-*-py3-none-any.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    source = PACKAGE / "src"
    here = {str(path.relative_to(source)) for path in source.rglob("*") if path.suffix in (".py", ".typed")}
    assert {"shaveet/py.typed", "shaveet/django/templatetags/shaveet.py"} <= here <= packed


def mypy(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", *args]
    return subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)


def test_the_types_hold() -> None:
    done = mypy()
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "right, wrong, complaint",
    [
        ("pending.result().id", "pending.result().name", 'has no attribute "name"'),
        ("ttl_ms=1000", "ttl=1000", 'Unexpected keyword argument "ttl"'),
        ("(await shaveet.get_channel_clients(", "(shaveet.get_channel_clients(", "iterable"),
        ('create_client("a")', 'create_client(["a"])', "incompatible type"),
        ("", "", ""),
    ],
)
def test_types_find_mistakes_of_those_who_use_them(tmp_path: Any, right: str, wrong: str, complaint: str) -> None:
    use = tmp_path / "use.py"
    use.write_text(USE.replace(right, wrong) if right else USE)
    done = mypy("--strict", str(use))
    assert (done.returncode == 0) == (not right) and complaint in done.stdout, done.stdout


def test_every_method_has_its_words_and_is_there_for_all(server: Any) -> None:
    names = [name for name in vars(Api) if not name.startswith("_")]
    for name in names:
        assert inspect.getdoc(getattr(Shaveet, name)), name
        for other in (AsyncShaveet, Calls):
            assert getattr(other, name) is getattr(Api, name), name
