"""Functions for ``offgil batch --process``."""

from __future__ import annotations

import os
import time
from typing import Any

number = 7


def text(request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    asked = request["body"]["messages"][0]["content"]
    said = response["body"]["choices"][0]["message"]["content"]
    return {"id": request["custom_id"], "url": request["url"], "asked": asked, "said": said}


def refuse_odd(request: dict[str, Any], response: dict[str, Any]) -> int:
    value = int(request["custom_id"].removeprefix("request-"))
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value


def die_at_three(request: dict[str, Any], response: dict[str, Any]) -> str:
    if request["custom_id"] == "request-3":
        os._exit(4)
    return "alive"


def no_json(request: dict[str, Any], response: dict[str, Any]) -> object:
    return object()


def slow(request: dict[str, Any], response: dict[str, Any]) -> str:
    time.sleep(0.05)
    return "slow"
