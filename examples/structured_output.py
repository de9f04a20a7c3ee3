"""Structured output: answers of OpenAI's SDK over offgil as pydantic models.

OPENAI_API_KEY=… python examples/structured_output.py
OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=any python examples/structured_output.py  # mock-server
"""

from typing import Literal

import openai
import pydantic

from offgil.adapters.httpx2 import HTTPTransport


class Ticket(pydantic.BaseModel):
    summary: str
    urgency: Literal["low", "normal", "high"]
    products: list[str]
    hours: int | None


client = openai.OpenAI(http_client=openai.DefaultHttpxClient(transport=HTTPTransport()))


def read(mail: str) -> Ticket:
    messages = [{"role": "user", "content": mail}]
    done = client.chat.completions.parse(model="gpt-5-mini", messages=messages, response_format=Ticket)
    return done.choices[0].message.parsed


for mail in ("The printer is on fire.", "Where do I find the manual of the kettle?"):
    ticket = read(mail)
    print(ticket.urgency, ticket.products, ticket.summary)
