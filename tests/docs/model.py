"""A model server in a thread: it calls the first tool that it is offered, then says what the tool said."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "smollm2"
ARGUMENTS = {"timezone": "Asia/Tokyo"}
VECTOR = [0.5, -0.25, 0.125]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}

Json = dict[str, Any]


@contextmanager
def model_server() -> Iterator[str]:
    """Serves until the block ends; the base URL, ending in `/v1`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer("application/json", json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": index, "embedding": VECTOR} for index, _ in enumerate(request["input"])]
            self._answer("application/json", json.dumps({"object": "list", "data": data, "usage": USAGE}))
            return
        message, reason = _reply(request)
        if request.get("stream"):
            chunks = [
                {"choices": [{"index": 0, "delta": {"role": "assistant", **message}, "finish_reason": None}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
                {"choices": [], "usage": USAGE},
            ]
            head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
            events = "".join(f"data: {json.dumps(head | chunk)}\n\n" for chunk in chunks)
            self._answer("text/event-stream", events + "data: [DONE]\n\n")
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": reason}
            whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL}
            self._answer("application/json", json.dumps({**whole, "choices": [choice], "usage": USAGE}))

    def _answer(self, content_type: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server calls
        """Nothing: the tests read what the gateway says."""


def _reply(request: Json) -> tuple[Json, str]:
    last = request["messages"][-1]
    if last["role"] == "tool":
        return {"content": f"The tool says: {last['content']}"}, "stop"
    if request.get("tools"):
        function = {"name": request["tools"][0]["function"]["name"], "arguments": json.dumps(ARGUMENTS)}
        return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}, "tool_calls"
    return {"content": "Hello."}, "stop"
