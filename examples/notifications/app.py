"""Notifications: every user has a private channel, and whoever wants to tell a user something publishes there.

A page is subscribed to its own user's channel only, and only this application can subscribe it: what is sent to bob
reaches bob's pages (as many as he has open) and nobody else's. What he has read on one of them is read on all. Who bob is, a real application knows from its login;
this one believes the name that it is told.
"""

import os
import re
import secrets
import time
from hmac import compare_digest

from flask import Flask, abort, jsonify, render_template, request
from shaveet import Shaveet, ShaveetError, UnknownClient
from werkzeug.exceptions import HTTPException

NAME_MAX = 20  # characters
TEXT_MAX = 300  # characters
READ_MAX = 100  # notifications at once: a page has no more

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


def channel_of(user):
    return f"user-{user}"


def sender():
    """The user whose page asks, proven by the page's client id and key together."""
    client_id, key = field("client_id", 100), field("key", 100)
    user = client_id.rpartition("_")[0]
    # For a client that exists create_client only tells its key; get_client_channels has made sure that it exists.
    if channel_of(user) not in shaveet.get_client_channels(client_id):
        abort(403, "This client is not yours.")
    if not compare_digest(shaveet.create_client(client_id).encode(), key.encode()):
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
    key = shaveet.create_client(client_id)
    shaveet.subscribe(client_id, channel_of(name))
    return jsonify(client_id=client_id, key=key, channel=channel_of(name))


@app.post("/notify")
def notify():
    user, to, text = sender(), field("to", NAME_MAX), field("text", TEXT_MAX)
    if not shaveet.get_channel_clients(channel_of(to)):
        abort(404, f"{to} is not here right now.")
    # An object, so that no text can pass for one of Shaveet's own messages such as {"type": "subscribe"}.
    message = {"type": "notification", "from": user, "text": text, "at_ms": int(time.time() * 1000)}
    shaveet.publish(channel_of(to), message, sender="notifications")
    return jsonify(sent=True)


@app.post("/read")
def read():
    body = request.get_json()
    ids = body.get("ids") if isinstance(body, dict) else None
    if not isinstance(ids, list) or len(ids) > READ_MAX or not all(isinstance(id, int) for id in ids):
        abort(400, f"ids: a list of up to {READ_MAX} numbers, please.")
    shaveet.publish(channel_of(sender()), {"type": "read", "ids": ids}, sender="notifications")
    return jsonify(read=True)


@app.post("/leave")
def leave():
    sender()
    shaveet.kill_client(field("client_id", 100))
    return jsonify(left=True)


@app.errorhandler(UnknownClient)
def unknown(error):
    return jsonify(error="You are not connected just now. Please try again in a moment."), 410


@app.errorhandler(ShaveetError)
def unanswered(error):
    app.logger.error("%s", error)
    return jsonify(error="The push server does not answer."), 503


@app.errorhandler(HTTPException)
def refuse(error):
    return jsonify(error=error.description), error.code


if __name__ == "__main__":
    app.run(os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "5000")))
