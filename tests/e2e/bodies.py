"""The same question to each of the three endpoints."""

from tests.e2e.frames import Json

USER = [{"role": "user", "content": "go"}]
PATHS = {"responses": "/v1/responses", "chat": "/v1/chat/completions", "agent": "/v1/agent/responses"}


def body(face: str, model: str, *, streamed: bool) -> Json:
    asked: Json = {"model": model, "stream": streamed}
    return asked | ({"input": "go"} if face == "responses" else {"messages": USER})
