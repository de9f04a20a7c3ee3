"""OpenAI's SDK over offgil: many streamed completions at once, from ordinary threads.

OPENAI_API_KEY=… python examples/openai_threads.py
OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=any python examples/openai_threads.py  # offgil mock-server
"""

from concurrent.futures import ThreadPoolExecutor

import openai

from offgil.adapters.httpx2 import HTTPTransport

client = openai.OpenAI(http_client=openai.DefaultHttpxClient(transport=HTTPTransport()))


def ask(question: str) -> str:
    messages = [{"role": "user", "content": question}]
    stream = client.chat.completions.create(model="gpt-5-mini", messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


print(ask("What is a square?"))  # builds the SDK's pydantic models: without the GIL, threads must not race for that
with ThreadPoolExecutor(32) as pool:
    for answer in pool.map(ask, [f"What is {n} times {n}?" for n in range(100)]):
        print(answer)
