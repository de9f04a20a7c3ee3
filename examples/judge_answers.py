"""A function for ``offgil batch --process judge_answers:judge``: a little work on each answer, and a verdict.

It runs on threads or in processes, whichever suits the interpreter; it is the same function for both.
"""

import hashlib
from typing import Any


def judge(request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    """What goes into the result's line as ``processed``."""
    question = request["body"]["messages"][-1]["content"]
    answer = response["body"]["choices"][0]["message"]["content"]
    return {
        "repeats_the_question": question in answer,
        "words": len(answer.split()),
        "digest": hashlib.sha256(answer.encode()).hexdigest()[:12],
    }
