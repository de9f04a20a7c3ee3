"""Anthropic's SDK over offgil, under asyncio: many messages at once, then one as it is written.

ANTHROPIC_API_KEY=… python examples/anthropic_asyncio.py
ANTHROPIC_BASE_URL=http://127.0.0.1:8000 ANTHROPIC_API_KEY=any python examples/anthropic_asyncio.py  # mock-server
"""

import asyncio

import anthropic

from offgil.adapters.httpx2 import AsyncHTTPTransport


def ask(question: str) -> dict[str, object]:
    return {"model": "claude-haiku-4-5", "max_tokens": 200, "messages": [{"role": "user", "content": question}]}


async def main() -> None:
    http = anthropic.DefaultAsyncHttpxClient(transport=AsyncHTTPTransport())
    async with anthropic.AsyncAnthropic(http_client=http) as client:
        questions = [f"What is {n} times {n}?" for n in range(100)]
        for message in await asyncio.gather(*(client.messages.create(**ask(question)) for question in questions)):
            print(message.content[0].text)
        async with client.messages.stream(**ask("Count to twenty.")) as stream:
            async for text in stream.text_stream:
                print(text, end="", flush=True)
        print()


asyncio.run(main())
