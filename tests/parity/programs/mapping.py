"""The store as a dict."""

import offgil


def attempt(call):
    try:
        return repr(call())
    except Exception as exc:
        return f"{type(exc).__name__}{exc.args[:1] if isinstance(exc, KeyError) else ''}"


with offgil.open_store() as store:
    store.update({"a": 1, "b": [1, {"x": (2, None)}], "ключ": "значение", "": b"\0", "f": 1.5, "t": True})
    for key in sorted(store):
        print(repr(key), repr(store[key]), type(store[key]).__name__)
    print(len(store), "a" in store, "z" in store, 1 in store, None in store)
    print(attempt(lambda: store["z"]), attempt(lambda: store[1]), attempt(lambda: store.pop("z")))
    print(
        store.get("z"), store.get("z", "default"), store.pop("z", None), store.setdefault("a", 9), store.setdefault("n")
    )
    print(store == {**dict(store.items())}, store == {}, store.pop("n"))
    print(store.put("a", 2, if_absent=True), store.put("new", 2, if_absent=True), store["a"], store["new"])
    print(sorted(store.keys() & {"a", "b", "zz"}), sorted(map(repr, store.values())))
    del store["a"]
    print(attempt(lambda: store.__delitem__("a")))
    for priority in (-1, 64, 3):
        print(attempt(lambda priority=priority: store.put("p", priority, priority=priority)))
    for ttl in (0, -1, float("nan"), float("inf"), 5):
        print(attempt(lambda ttl=ttl: store.put("ttl", ttl, ttl=ttl)))
    while store:
        key, value = store.popitem()
    print(attempt(store.popitem), len(store), list(store.items()), bool(store))
print(attempt(lambda: store["a"]), attempt(lambda: len(store)), store.closed)
