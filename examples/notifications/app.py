"""Notifications: every user has a private channel, and whoever wants to tell a user something publishes there.

A page is subscribed to its own user's channel only, and only this application can subscribe it: what is sent to bob
reaches bob's pages (as many as he has open) and nobody else's. Who bob is, a real application knows from its login;
this one believes the name that it is told.
"""

import json
import os
import re
import secrets
import time
from hmac import compare_digest
from urllib.request import ProxyHandler, Request, build_opener

from flask import Flask, abort, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

NAME_MAX = 20  # characters
TEXT_MAX = 300  # characters
RPC_SECONDS_MAX = 5  # Shaveet answers within milliseconds; a page should not hang because it is gone

SHAVEET_RPC = os.environ.get("SHAVEET_RPC", "http://127.0.0.1:8082/")
SHAVEET_URL = os.environ.get("SHAVEET_URL", "").rstrip("/")

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
shaveet = build_opener(ProxyHandler({}))  # a proxy from the environment has no business between the two


def rpc(method, *params):
    """Calls one method of Shaveet. An unknown client is a 410, anything else that goes wrong a 503."""
    body = json.dumps({"method": method, "params": params, "id": 1}).encode()
    try:
        call = Request(SHAVEET_RPC, body, {"Content-Type": "application/json"})
        with shaveet.open(call, timeout=RPC_SECONDS_MAX) as response:
            answer = json.load(response)
    except (OSError, ValueError) as error:
        app.logger.error("%s at %s: %s", method, SHAVEET_RPC, error)
        abort(503, "The push server does not answer.")
    if error := answer.get("error"):
        if "KeyError" in error["type"]:
            abort(410, "You are not connected just now. Please try again in a moment.")
        app.logger.error("%s: %s", method, error)
        abort(503, "The push server refused.")
    return answer["result"]


def field(name, length_max):
    """A text of the request's JSON body, trimmed. Half an emoji, as a cut string has it, becomes a question mark."""
    body = request.get_json()
    value = body.get(name) if isinstance(body, dict) else None
    value = value.encode(errors="replace").decode().strip() if isinstance(value, str) else ""
    if not 1 <= len(value) <= length_max:
        abort(400, f"{name}: 1 to {length_max} characters, please.")
    return value


def channel_of(user):
    return f"user-{user}"


def sender():
    """The user whose page asks, proven by the page's client id and key together."""
    client_id, key = field("client_id", 100), field("key", 100)
    user = client_id.rpartition("_")[0]
    # For a client that exists create_client only tells its key; get_client_channels has made sure that it exists.
    if channel_of(user) not in rpc("get_client_channels", client_id):
        abort(403, "This client is not yours.")
    if not compare_digest(rpc("create_client", client_id).encode(), key.encode()):
        abort(403, "The key is wrong.")
    return user


@app.get("/")
def page():
    host = re.sub(r":[0-9]+$", "", request.host)
    shaveet_url = SHAVEET_URL or f"{request.scheme}://{host}:8082"
    return render_template("index.html", shaveet_url=shaveet_url, name_max=NAME_MAX, text_max=TEXT_MAX)


@app.post("/join")
def join():
    name = field("name", NAME_MAX)
    if not name.isprintable() or "admin" in name.lower():  # Shaveet leaves ids with "admin" out of its lists
        abort(400, "Please choose another name.")
    # Never the bare name: create_client hands the key of an existing client to whoever names its id.
    client_id = f"{name}_{secrets.token_hex(8)}"
    key = rpc("create_client", client_id)
    rpc("subscribe", client_id, channel_of(name))
    return jsonify(client_id=client_id, key=key, channel=channel_of(name))


@app.post("/notify")
def notify():
    user, to, text = sender(), field("to", NAME_MAX), field("text", TEXT_MAX)
    if not rpc("get_channel_clients", channel_of(to)):
        abort(404, f"{to} is not here right now.")
    # An object, so that no text can pass for one of Shaveet's own messages such as {"type": "subscribe"}.
    message = {"type": "notification", "from": user, "text": text, "at_ms": int(time.time() * 1000)}
    return jsonify(sent=rpc("new_message", "notifications", message, channel_of(to), False))


@app.post("/leave")
def leave():
    sender()
    rpc("kill_client", field("client_id", 100))
    return jsonify(left=True)


@app.errorhandler(HTTPException)
def refuse(error):
    return jsonify(error=error.description), error.code


if __name__ == "__main__":
    app.run(os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "5000")))
