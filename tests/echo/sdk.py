"""sdk.py PORT: what an application does with Pusher's SDK for Python. Prints what it was told, as JSON."""

import json
import sys

import pusher
from pusher.errors import PusherBadAuth, PusherBadRequest

APP = {"app_id": "1001", "key": "echo-key", "secret": "echo-secret-of-the-tests"}


def client(**changes):
    return pusher.Pusher(**{**APP, **changes}, host="127.0.0.1", port=int(sys.argv[1]), ssl=False)


sdk = client()
sdk.trigger("news", "e", {"from": "Python", "text": "山彦"})
sdk.trigger_batch([{"channel": "news", "name": "e", "data": {"n": 1}}])
told = {
    "channels": sdk.channels_info(),
    "channel": sdk.channel_info("presence-Room.1", ["user_count"]),
    "users": sdk.users_info("presence-Room.1"),
}
try:
    client(secret="not the secret").trigger("news", "e", {})
except PusherBadAuth as refusal:
    told["refused"] = type(refusal).__name__
try:
    sdk.trigger("news", "pusher:ping", {})
except PusherBadRequest as refusal:
    told["invalid"] = type(refusal).__name__
print(json.dumps(told))
