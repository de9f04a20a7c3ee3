"""Streamed chat completions at a fixed pace: ``sse_server.py EVENTS INTERVAL`` prints its port and serves any request.

Each answer is EVENTS server-sent events, INTERVAL seconds apart, so it takes EVENTS * INTERVAL seconds however many are
asked for at once.
"""

from __future__ import annotations

import asyncio
import json
import sys

EVENTS, INTERVAL = int(sys.argv[1]), float(sys.argv[2])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
# Together the pieces are one JSON string, for clients that want structured output.
PIECES = ['"', *["word "] * (EVENTS - 2), '"']


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(piece: str) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "mock", "choices": [choice]}
    return chunk(b"data: %s\n\n" % json.dumps(body).encode())


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    await reader.readexactly(int(line.split(b":")[1]))
            start = loop.time()
            for number, piece in enumerate(PIECES):
                writer.write((HEAD if number == 0 else b"") + event(piece))
                await asyncio.sleep(max(0.0, start + (number + 1) * INTERVAL - loop.time()))
            writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
