"""A chat room: the smallest complete web application behind Shaveet.

The page asks this application to join and to speak; this application asks Shaveet, over JSON-RPC. The page itself only
ever listens to Shaveet, with the id and the key that it was given here.
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

ROOM = "chat-room"
NAME_MAX = 20  # characters
TEXT_MAX = 1000  # characters
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


def member():
    """The client that asks: in the room, and proven by its key. Ids are no proof, everybody in the room sees them."""
    client_id, key = field("client_id", 100), field("key", 100)
    # For a client that exists create_client only tells its key; get_client_channels has made sure that it exists.
    if ROOM not in rpc("get_client_channels", client_id):
        abort(410, "You are not connected just now. Please try again in a moment.")
    if not compare_digest(rpc("create_client", client_id).encode(), key.encode()):
        abort(403, "The key is wrong.")
    return client_id


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
    rpc("subscribe", client_id, ROOM)
    return jsonify(client_id=client_id, key=key)


@app.get("/here")
def here():
    return jsonify(rpc("get_channel_clients", ROOM))


@app.post("/say")
def say():
    # An object, so that no text can pass for one of Shaveet's own messages such as {"type": "unsubscribe"}.
    message = {"type": "say", "text": field("text", TEXT_MAX), "at_ms": int(time.time() * 1000)}
    rpc("new_message", member(), message, ROOM, False)
    return jsonify(said=True)


@app.post("/leave")
def leave():
    rpc("kill_client", member())
    return jsonify(left=True)


@app.errorhandler(HTTPException)
def refuse(error):
    return jsonify(error=error.description), error.code


if __name__ == "__main__":
    app.run(os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "5000")))
