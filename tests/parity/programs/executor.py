"""The executor: order, exceptions, contexts, priorities, cancellation, back-pressure."""

import asyncio
import contextvars
import math
import os
import time
from concurrent.futures import as_completed, wait

import offgil

variable = contextvars.ContextVar("variable", default="unset")


def power(base, exponent=2):
    return base**exponent


def fail(text):
    raise LookupError(text)


class Refusal(Exception):
    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code = code


def refuse():
    raise Refusal(7, "no")


def set_variable(value):
    before = variable.get()
    variable.set(value)
    return before


def hold(path, begun):
    open(begun, "w").close()
    while not os.path.exists(path):
        time.sleep(0.002)
    return "held"


def log(path, text):
    with open(path, "a") as file:
        file.write(text)


def attempt(future):
    try:
        return future.result(60)
    except BaseException as exc:
        return f"{type(exc).__name__}: {exc}"


async def use_asyncio(executor):
    loop = asyncio.get_running_loop()
    print(await loop.run_in_executor(executor, power, 6), await executor.submit_async(power, 2, exponent=10))
    print(await asyncio.gather(*(executor.submit_async(power, n) for n in range(5))))
    try:
        await executor.submit_async(fail, "async")
    except LookupError as exc:
        print(repr(exc))


def main(folder):
    with offgil.Executor(2) as executor:
        print(list(executor.map(power, range(20))), list(executor.map(power, range(9), range(9), chunksize=4)))
        print([f.result() for f in [executor.submit(power, n, exponent=3) for n in range(9)]])
        print(sorted(f.result() for f in as_completed([executor.submit(math.factorial, n) for n in range(9)])))
        for future in [
            executor.submit(fail, "gone"),
            executor.submit(refuse),
            executor.submit(os.stat, "/no/such/file"),
        ]:
            print(attempt(future), type(future.exception()).__mro__[1].__name__)
        print(executor.submit(refuse).exception().code)
        print(attempt(executor.submit(power, "a")), attempt(executor.submit(power)))
        results = executor.map(lambda_free, [3, 2, 1, 0, 5])
        got = []
        try:
            got.extend(results)
        except ZeroDivisionError as exc:
            print("map stopped:", exc)
        asyncio.run(use_asyncio(executor))

    with offgil.Executor(1, max_pending=30) as executor:
        print([executor.submit(set_variable, text).result() for text in "abc"], variable.get())
        gate, begun, path = (os.path.join(folder, name) for name in ("gate", "begun", "log"))
        held = executor.submit(hold, gate, begun)
        while not os.path.exists(begun):
            time.sleep(0.002)
        several = [executor.options(priority=p).submit(log, path, f"{p}{x} ") for x in "ab" for p in (1, 0, 63, 9)]
        cancelled = [executor.submit(log, path, "never ") for _ in range(3)]
        print([f.cancel() for f in cancelled], held.cancel(), held.running(), several[0].running())
        open(gate, "w").close()
        wait(several)
        with open(path) as file:
            print(file.read(), held.result(), [f.cancelled() for f in cancelled], held.cancel())
        print(sum(executor.map(power, range(200))))
        stats = executor.stats()
        print(stats.submitted, stats.succeeded, stats.failed, stats.cancelled, stats.pending, stats.running)
    print(attempt_submit(executor))


def lambda_free(number):
    return 6 // number


def attempt_submit(executor):
    try:
        return executor.submit(power, 1)
    except RuntimeError as exc:
        return f"{type(exc).__name__}: {exc}"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        main(folder)
