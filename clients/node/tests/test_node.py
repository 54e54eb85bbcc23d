"""The example for Node is run as it stands in the README."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
from typing import Any

from support import Server

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_example(tmp_path: Any) -> None:
    client, use = re.findall(r"^```js\n(.*?)^```", README.read_text(), flags=re.M | re.S)
    (tmp_path / "shaveet.mjs").write_text(client)
    (tmp_path / "use.mjs").write_text(use)
    (tmp_path / "fails.mjs").write_text(
        "import { shaveet } from './shaveet.mjs';\n"
        "await shaveet('kill_client', ['nobody']).catch((error) => console.log(error.code));\n"
    )
    assert len(client.splitlines()) <= 20
    server = Server()
    said = [
        subprocess.run(
            ["node", script], cwd=tmp_path, env={**os.environ, "SHAVEET_RPC": server.url}, capture_output=True, text=True
        )
        for script in ("use.mjs", "fails.mjs")
    ]
    server.stop()
    assert [done.stdout for done in said] == ["2 32 [ 'page1' ]\n", "-32001\n"], said
