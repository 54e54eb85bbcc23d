"""The PHP client against the real server."""

from __future__ import annotations

import json
import pathlib
import random
import re
import subprocess
from typing import Any, Iterator, List

import pytest
from support import Line, Server

from shaveet import Shaveet

HERE = pathlib.Path(__file__).parent
CLIENT = HERE.parent


def php(script: str, *args: str) -> str:
    command = ["php", "-d", "error_reporting=-1", "-d", "display_errors=1", str(HERE / script), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def servers() -> Iterator[List[Server]]:
    started: List[Server] = []
    yield started
    for one in started:
        one.stop()


def test_every_method(servers: List[Server]) -> None:
    servers.append(Server())
    assert php("methods.php", servers[0].url) == "all is well\n"


def test_nothing_is_lost_or_doubled_though_answers_are_lost(servers: List[Server]) -> None:
    servers.append(Server("--history", "1000"))
    chance = random.Random(7)
    line = Line(servers[0].url, lambda: chance.random() < 0.3 or line.answers > 40 + line.lost)
    assert php("publish.php", line.url, "40") == "maybe\n"
    line.stop()
    client = Shaveet(servers[0].url)
    assert [m.data for m in client.history("room").messages] == [str(at) for at in range(40)]
    assert [m.data for m in client.history("old").messages] == ["not again"]


def test_a_socket_a_token_and_who_is_refused(servers: List[Server], tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 32)
    token.chmod(0o600)
    where = f"unix:{tmp_path}/rpc.sock"
    servers.append(Server("--rpc-listen", where, "--rpc-token-file", str(token)))
    assert php("call.php", where, "t" * 32) == "1\n"
    assert php("call.php", where, "u" * 32) == "Shaveet\\Forbidden NULL\n"
    servers[0].kill()
    assert php("call.php", where, "t" * 32) == "Shaveet\\Unavailable false\n"


def test_composer_takes_it() -> None:
    subprocess.run(["composer", "validate", "--strict", "--no-interaction", "--quiet"], cwd=CLIENT, check=True)


PARSE = """
const parser = require("php-parser");
const reads = ([code, version]) => {
  try {
    return new parser.Engine({ parser: { version, suppressErrors: false } }).parseCode(code, "x.php") && true;
  } catch {
    return false;
  }
};
console.log(JSON.stringify(JSON.parse(require("fs").readFileSync(0)).map(reads)));
"""


def test_php_7_4_can_read_it() -> None:
    """By a parser that knows what each version of PHP had."""
    files = [file.read_text() for file in [CLIENT / "Shaveet.php", *HERE.glob("*.php")]]
    newer = ["<?php match (1) { 1 => 2 };", "<?php $a?->b();"]
    codes = [*((code, "7.4") for code in [*files, *newer]), *((code, "8.1") for code in newer)]
    done = subprocess.run(["node", "-e", PARSE], input=json.dumps(codes), cwd=HERE, capture_output=True, text=True)
    assert json.loads(done.stdout) == [True] * len(files) + [False, False, True, True], done.stderr


def test_the_readme_is_right(servers: List[Server], tmp_path: Any) -> None:
    servers.append(Server())
    blocks = re.findall(r"^```php\n(.*?)^```", (CLIENT / "README.md").read_text(), flags=re.M | re.S)
    code = "<?php\n" + "".join(blocks).replace("http://127.0.0.1:8082", servers[0].url)
    (tmp_path / "Shaveet.php").symlink_to(CLIENT / "Shaveet.php")
    (tmp_path / "readme.php").write_text(code)
    done = subprocess.run(["php", "readme.php"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("2\n", "")
    said = [message.data for message in Shaveet(servers[0].url).history("room").messages if not message.system]
    assert said == ['{"text":"hello"}', "welcome"]
