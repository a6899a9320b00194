"""A page that counts its visits in Redis."""

import os

import redis
from flask import Flask, Response

app = Flask(__name__)
store = redis.Redis(host=os.environ.get("REDIS_HOST", "redis"), port=6379)


@app.get("/")
def hello() -> Response:
    # INCR is atomic: two visits at once are two different numbers, however many web containers run.
    count = store.incr("hits")
    return Response(
        f"Hello World! 该页面已被访问 {count} 次。\n", content_type="text/plain; charset=utf-8"
    )
