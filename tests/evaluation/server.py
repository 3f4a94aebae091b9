"""A small OpenAI-compatible server that answers as a test says."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

Content = str | dict[str, Any]
Reply = Callable[[int, dict[str, Any]], tuple[int, Content]]
"""Makes of the number of a request, from 1, and its body a status and what is said: a text, or a whole choice, or the
fields of an error."""


class Server(ThreadingHTTPServer):
    """Keeps what it was asked. Its API is at `api`; elsewhere it knows nothing."""

    daemon_threads = True

    def __init__(self, reply: Reply, port: int = 0, api: str = "/v1") -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.reply, self.api, self.asked, self.lock = reply, api, list[dict[str, Any]](), threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def model(self) -> str:
        return f"{self.address}/v1=small"

    @property
    def images(self) -> list[Image.Image]:
        urls = [body["messages"][0]["content"][0]["image_url"]["url"] for body in self.asked]
        assert all(url.startswith("data:image/png;base64,") for url in urls)
        return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        found = self.path == f"{self.server.api}/models"
        self._send(*((200, {"object": "list", "data": []}) if found else (404, {"error": {"message": "Not Found"}})))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != f"{self.server.api}/chat/completions":
            self._send(404, {"error": {"message": "Not Found"}})
            return
        with self.server.lock:
            self.server.asked.append(body)
            number = len(self.server.asked)
        status, said = self.server.reply(number, body)
        if status == 0:
            self.connection.close()
            return
        if status != 200:
            self._send(status, {"error": said if isinstance(said, dict) else {"message": said}})
            return
        told: dict[str, Any] = said if isinstance(said, dict) else {"message": {"content": said}}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", **told}
        choice["message"] = {"role": "assistant", "content": None} | choice["message"]
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice]}
        self._send(200, answer | {"usage": usage})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(reply: Reply, port: int = 0, api: str = "/v1") -> Iterator[Server]:
    server = Server(reply, port, api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
