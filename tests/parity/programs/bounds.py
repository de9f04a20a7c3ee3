"""What a full store does."""

import threading

import offgil


def outcome(call):
    try:
        return call()
    except Exception as exc:
        return type(exc).__name__


with offgil.open_store(max_entries=3) as store:
    print([outcome(lambda i=i: store.put(f"k{i}", i)) for i in range(5)], outcome(lambda: store.put("k0", "again")))
    print(sorted(store.items(), key=str), outcome(lambda: store.put_exception("e", ValueError())))
    print(store.pop("k1"), outcome(lambda: store.put("k4", 4)), sorted(store))

with offgil.open_store(max_entries=3, on_full="evict") as store:
    for key in "abcdefgh":
        store[key] = key
        store.get("a")
    print(sorted(store), store.stats().evicted)

with offgil.open_store(max_entries=1, on_full="block") as store:
    store["a"] = 1
    print(outcome(lambda: store.put("b", 2, timeout=0.01)))
    thread = threading.Thread(target=lambda: store.put("b", 2))
    thread.start()
    print(store.take(timeout=60), store.wait("b", timeout=60))
    thread.join()
    print(dict(store))
