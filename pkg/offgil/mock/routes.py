"""Which path of the mock server is answered by what."""

from __future__ import annotations

from dataclasses import dataclass

from offgil.mock import anthropic, openai
from offgil.mock.answer import Answer, BadRequest, Call, Handler, Refuse

__all__ = ["Route", "find"]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a path's one method, and the form of the API's errors."""

    method: str
    handler: Handler
    refuse: Refuse

    def answer(self, call: Call) -> Answer:
        """The answer to one request, an error if it is not to be answered."""
        try:
            return self.handler(call)
        except BadRequest as error:
            return self.refuse(400, str(error), ())
        except RecursionError:
            return self.refuse(400, "The JSON body of your request is nested too deeply.", ())


def health(_: Call) -> Answer:
    """``GET /health``."""
    return Answer(200, b'{"status":"ok"}')


_ROUTES = {
    "/v1/chat/completions": Route("POST", openai.chat_completions, openai.refuse),
    "/v1/embeddings": Route("POST", openai.embeddings, openai.refuse),
    "/v1/messages": Route("POST", anthropic.messages, anthropic.refuse),
    "/v1/models": Route("GET", openai.models, openai.refuse),
    "/health": Route("GET", health, openai.refuse),
}


def find(method: str, target: str) -> Route | Answer:
    """The route of a request, or the error answer if there is none."""
    path = target.partition("?")[0]
    route = _ROUTES.get(path)
    if route is None:
        return openai.refuse(404, f"Invalid URL ({method} {path})")
    if method != route.method:
        return route.refuse(405, f"Not allowed to {method} on {path}", ((b"allow", route.method.encode()),))
    return route
