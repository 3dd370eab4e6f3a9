"""Flask-Caching on this store: values, many at once, memoised functions, and clearing by prefix."""

from flask import Flask
from flask_caching import Cache

from common import address, same

HOST, PORT = address()
app = Flask(__name__)
app.config.update(CACHE_TYPE="RedisCache", CACHE_REDIS_HOST=HOST, CACHE_REDIS_PORT=PORT, CACHE_KEY_PREFIX="site:", CACHE_DEFAULT_TIMEOUT=60)
cache = Cache(app)
calls = []


@cache.memoize(60)
def square(number):
    calls.append(number)
    return number * number


@app.route("/page")
@cache.cached(timeout=60)
def page():
    calls.append("page")
    return "hello"


with app.app_context():
    cache.clear()
    cache.set("one", {"any": ["object"]})
    same(cache.get("one"), {"any": ["object"]}, "a value")
    cache.set_many({"two": 2, "three": 3})
    same(cache.get_many("one", "two", "none"), [{"any": ["object"]}, 2, None], "many values")
    same(cache.add("two", 9), False, "a value that is there already")
    same([square(4), square(4), square(5)], [16, 16, 25], "a memoised function")
    cache.delete_memoized(square, 4)
    square(4)
    same(calls, [4, 5, 4], "how often it was called")
    client = app.test_client()
    same([client.get("/page").data, client.get("/page").data], [b"hello"] * 2, "a page")
    same(calls.count("page"), 1, "how often the page was made")
    same(cache.delete_many("one", "two") is not False, True, "values are removed")
    same(cache.has("one"), False, "a value that was removed")
    cache.clear()
    same(cache.get("three"), None, "after the store was cleared")
