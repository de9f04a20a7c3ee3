"""Producers and consumers, by priority, through a bound, with threads that really overlap."""

import threading

import offgil

WORKERS, EACH = 4, 250

with offgil.open_store(max_entries=16, on_full="block") as store:
    totals = [0] * WORKERS

    def produce(me):
        for i in range(EACH):
            store.put(f"{me}/{i}", {"worker": me, "n": i}, topic="jobs", priority=i % 64)

    def consume(me):
        while True:
            _, job = store.take("jobs")
            if job is None:
                return
            totals[me] += job["worker"] * 1000 + job["n"]

    consumers = [threading.Thread(target=consume, args=(me,)) for me in range(WORKERS)]
    producers = [threading.Thread(target=produce, args=(me,)) for me in range(WORKERS)]
    for thread in consumers + producers:
        thread.start()
    for thread in producers:
        thread.join()
    for me in range(WORKERS):
        store.put(f"stop{me}", None, topic="jobs")
    for thread in consumers:
        thread.join()
    print(sum(totals) == sum(me * 1000 + i for me in range(WORKERS) for i in range(EACH)), len(store))
    stats = store.stats()
    print(stats.puts, stats.takes, stats.waiters, stats.blocked, stats.entries_limit)

with offgil.open_store() as store:
    for i in range(100):
        store.put(f"job{i}", i, topic="jobs", priority=(i * 7) % 5)
    print([store.take("jobs")[1] for _ in range(100)])
