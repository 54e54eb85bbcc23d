"""A chat with a few rooms: the smallest complete web application behind Shaveet.

The page asks this application to join and to speak; this application asks Shaveet. The page itself only ever listens to
Shaveet, with the id and the key that it was given here.
"""

import os
import re
import secrets
import time
from hmac import compare_digest

from flask import Flask, abort, jsonify, render_template, request
from shaveet import Shaveet, ShaveetError, UnknownClient
from werkzeug.exceptions import HTTPException

ROOMS = ["lobby", "music", "cooking"]
NAME_MAX = 20  # characters
TEXT_MAX = 1000  # characters

SHAVEET_URL = os.environ.get("SHAVEET_URL", "").rstrip("/")

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
shaveet = Shaveet(os.environ.get("SHAVEET_RPC", "http://127.0.0.1:8082/"), retry_for=1)


def field(name, length_max):
    """A text of the request's JSON body, trimmed. Half an emoji, as a cut string has it, becomes a question mark."""
    body = request.get_json()
    value = body.get(name) if isinstance(body, dict) else None
    value = value.encode(errors="replace").decode().strip() if isinstance(value, str) else ""
    if not 1 <= len(value) <= length_max:
        abort(400, f"{name}: 1 to {length_max} characters, please.")
    return value


def room():
    """The channel of the room that is asked for."""
    name = request.args.get("room") or field("room", 20)
    if name not in ROOMS:
        abort(400, "There is no such room.")
    return f"chat-{name}"


def member():
    """The client that asks, and the channel it is in, proven by its key. Ids are no proof: everybody in a room sees them."""
    client_id, key = field("client_id", 100), field("key", 100)
    # For a client that exists create_client only tells its key; get_client_channels has made sure that it exists.
    rooms = [channel for channel in shaveet.get_client_channels(client_id) if channel.startswith("chat-")]
    if not rooms:
        abort(410, GONE)
    if not compare_digest(shaveet.create_client(client_id).encode(), key.encode()):
        abort(403, "The key is wrong.")
    return client_id, rooms[0]


@app.get("/")
def page():
    host = re.sub(r":[0-9]+$", "", request.host)
    shaveet_url = SHAVEET_URL or f"{request.scheme}://{host}:8082"
    rooms = " ".join(ROOMS)
    return render_template("index.html", shaveet_url=shaveet_url, rooms=rooms, name_max=NAME_MAX, text_max=TEXT_MAX)


@app.post("/join")
def join():
    name, channel = field("name", NAME_MAX), room()
    if not name.isprintable() or "admin" in name.lower():  # Shaveet leaves ids with "admin" out of its lists
        abort(400, "Please choose another name.")
    # Never the bare name: create_client hands the key of an existing client to whoever names its id.
    client_id = f"{name}_{secrets.token_hex(8)}"
    with shaveet.batch() as batch:
        key = batch.create_client(client_id)
        batch.subscribe(client_id, channel)
        talk = batch.history(channel)
    # What the page gets from Shaveet begins with its own arrival: what was said before that is the history.
    before = []
    for message in talk.result().messages:
        if message.sender == client_id:
            break
        if not message.system:
            before.append({"from": message.sender, "data": message.data})
    return jsonify(client_id=client_id, key=key.result(), channel=channel, history=before)


@app.get("/here")
def here():
    return jsonify(shaveet.get_channel_clients(room()))


@app.post("/say")
def say():
    # An object, so that no text can pass for one of Shaveet's own messages such as {"type": "unsubscribe"}.
    message = {"type": "say", "text": field("text", TEXT_MAX), "at_ms": int(time.time() * 1000)}
    client_id, channel = member()
    shaveet.publish(channel, message, sender=client_id)
    return jsonify(said=True)


@app.post("/leave")
def leave():
    shaveet.kill_client(member()[0])
    return jsonify(left=True)


GONE = "You are not connected just now. Please try again in a moment."


@app.errorhandler(UnknownClient)
def unknown(error):
    return jsonify(error=GONE), 410


@app.errorhandler(ShaveetError)
def unanswered(error):
    app.logger.error("%s", error)
    return jsonify(error="The push server does not answer."), 503


@app.errorhandler(HTTPException)
def refuse(error):
    return jsonify(error=error.description), error.code


if __name__ == "__main__":
    app.run(os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "5000")))
