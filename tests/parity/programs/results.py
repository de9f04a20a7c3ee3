"""Results that come later: waiting in every way, exceptions, expiry."""

import asyncio
import concurrent.futures
import threading
import time

import offgil


def later(store, pairs):
    def publish():
        for key, value in pairs:
            if isinstance(value, Exception):
                store.put_exception(key, value)
            else:
                store[key] = value

    thread = threading.Thread(target=publish)
    thread.start()
    return thread


def outcome(call):
    try:
        return call()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


with offgil.open_store() as store:
    keys = [f"k{i}" for i in range(50)]
    thread = later(store, [(key, i * i) for i, key in enumerate(keys)])
    print([store.wait(key, timeout=60) for key in keys] == [i * i for i in range(50)])
    print(sum(value for _, value in store.as_completed(keys, timeout=60)))
    thread.join()

    futures = [store.future(f"f{i}") for i in range(20)]
    thread = later(store, [(f"f{i}", ValueError(f"no {i}") if i % 5 == 0 else i) for i in range(20)])
    concurrent.futures.wait(futures, timeout=60)
    print([outcome(future.result) for future in futures])
    thread.join()
    print(store.future("never").cancel(), store.stats().waiters)

    async def gather():
        tasks = [asyncio.create_task(store.wait_async(f"a{i}")) for i in range(30)]
        await asyncio.sleep(0)
        thread = later(store, [(f"a{i}", LookupError(i) if i == 7 else {"i": i}) for i in range(30)])
        done = await asyncio.gather(*tasks, return_exceptions=True)
        thread.join()
        return done

    print(asyncio.run(gather()))
    print(outcome(lambda: asyncio.run(store.wait_async("never", timeout=0.01))).partition(":")[0])

    for kind in (
        ValueError("v"),
        KeyError("k"),
        FileNotFoundError(2, "No such file", "x"),
        ExceptionGroup("g", [OSError(1)]),
    ):
        store.put_exception("e", kind)
        print(
            outcome(lambda: store["e"]),
            "|",
            outcome(lambda: store.get("e", 1)),
            "|",
            outcome(lambda: store.pop("e", 1)),
        )
    store.put_exception("e", ZeroDivisionError("kept"))
    print(repr(dict(store.items())["e"]), repr(store.take()[1]))

    store.put("short", 1, ttl=0.01)
    while "short" in store:
        time.sleep(0.001)
    print(store.get("short"), outcome(lambda: store.wait("short", timeout=0))[:13], "short" in list(store))

    with store.reserve("raw", 6) as view:
        view[:] = b"abcdef"
    print(store["raw"], bytes(store.view("raw")[2:4]), store.view("raw").readonly)
    entry = {entry.key: entry for entry in store.snapshot()}["raw"]
    print(entry.state, entry.priority, entry.topic, entry.ttl, entry.pins)
