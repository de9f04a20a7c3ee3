from offgil import _core
class AsyncStreamResponse(_core.AsyncStream):
    pass
