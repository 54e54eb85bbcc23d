"""What a page needs to listen: a client of its own, and the HTML that starts its script."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from html import escape
from typing import Dict, Iterable, List, Optional

from .api import Name
from .batch import Calls, Pending

NEW_CLIENT_HEADER = "X-Shaveet"
"""A page brings this header when it asks for a client: pages of other sites cannot send it, so they cannot ask."""


@dataclass(frozen=True)
class Client:
    """A page's client. Its key is a secret between the page and the server."""

    client_id: str
    key: str

    def as_dict(self) -> Dict[str, str]:
        """As the script wants it."""
        return {"client_id": self.client_id, "key": self.key}

    def headers(self) -> List[tuple[str, str]]:
        """The headers under which `as_json` is sent."""
        return [("Content-Type", "application/json"), ("Cache-Control", "no-store")]

    def as_json(self) -> bytes:
        """As a page gets it that asks for it."""
        return json.dumps(self.as_dict()).encode("ascii")


def begin(batch: Calls, user: Name, channels: Iterable[Name]) -> tuple[str, Pending[str]]:
    """Makes a client for a page of a user and subscribes it: its id, and its key once the batch has been sent.

    Each page gets an id that nobody can guess, so it is told apart from the user's other pages.
    """
    client_id = f"{user}_{secrets.token_hex(8)}"
    key = batch.create_client(client_id)
    for channel in channels:
        batch.subscribe(client_id, channel)
    return client_id, key


def html(client: Optional[Client], pages_url: str, new_client_path: str, nonce: Optional[str] = None) -> str:
    """Loads shaveet.js, begins to listen when the page is there, and gets a new client when this one is gone.

    Put it before the scripts that listen. ``pages_url`` is where pages reach Shaveet; ``nonce`` is that of the page's
    Content-Security-Policy. Without a client the page asks for one until it gets it.
    """
    with_nonce = "" if nonce is None else f' nonce="{escape(nonce)}"'
    values = {"client": client and client.as_dict(), "path": new_client_path, "header": NEW_CLIENT_HEADER}
    script = _SCRIPT.replace("VALUES", _in_script(values))
    source = escape(f"{pages_url.rstrip('/')}/static/shaveet.js")
    return f'<script src="{source}"{with_nonce}></script>\n<script{with_nonce}>{script}</script>'


_SCRIPT = """
(function (values) {
  var mine;
  if (!window.Shaveet) return; // the push server is down
  function begin(client) {
    mine = client.client_id;
    Shaveet.init(mine, client.key);
  }
  function renew() {
    fetch(values.path, { method: "POST", headers: { [values.header]: "1" } }).then(function (answer) {
      if (answer.status === 401) return; // logged out
      if (!answer.ok) throw new Error(answer.status);
      return answer.json().then(begin);
    }).catch(function () { setTimeout(renew, 2000 + 3000 * Math.random()); });
  }
  Shaveet.onClientGone(function (ids) {
    if (ids.indexOf(mine) === -1) return;
    Shaveet.remove(mine);
    renew();
  });
  document.addEventListener("DOMContentLoaded", function () { values.client ? begin(values.client) : renew(); });
})(VALUES);
"""


def _in_script(value: object) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
