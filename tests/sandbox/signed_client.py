"""A small client with its own signing code, so that a test controls each byte that is sent."""

import hashlib
import hmac
import http.client
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from qf_tasks.sandbox import Sandbox

ROUTE = "/v2/batchinference"
CREATION = {
    "name": "nightly",
    "endpoint": "ernie-x1-turbo-32k",
    "inputBosUri": "bos:/bucket/in/",
    "outputBosUri": "bos:/bucket/out/",
}


def bce_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def sign(
    access_key: str,
    secret_key: str,
    signed: dict[str, str],
    *,
    query: str,
    timestamp: str,
    expires_in: int = 1800,
    method: str = "POST",
    path: str = ROUTE,
    listed: str | None = None,
) -> str:
    """Return an `Authorization` over the headers in `signed`; `listed` replaces their names in it."""
    prefix = f"bce-auth-v1/{access_key}/{timestamp}/{expires_in}"
    lines = sorted(f"{name}:{quote(value, safe='')}" for name, value in signed.items())
    text = "\n".join([method, path, query, *lines])
    key = hmac.new(secret_key.encode(), prefix.encode(), hashlib.sha256).hexdigest()
    signature = hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f"{prefix}/{';'.join(sorted(signed)) if listed is None else listed}/{signature}"


@dataclass(frozen=True)
class Response:
    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def result(self) -> Any:
        assert self.status == 200, self.content
        return self.body["result"]

    @property
    def rejection(self) -> tuple[int, str]:
        """Return status and code of an error."""
        return self.status, self.body["code"]


@dataclass
class SignedClient:
    """One keep-alive connection to a sandbox."""

    sandbox: Sandbox
    access_key: str = ""
    secret_key: str = ""
    ssl_context: ssl.SSLContext | None = None
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.access_key = self.access_key or self.sandbox.access_key
        self.secret_key = self.secret_key or self.sandbox.secret_key
        port = self.sandbox.port
        if self.ssl_context is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        else:
            context = self.ssl_context
            self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)

    def close(self) -> None:
        self.connection.close()

    def headers(self, query: str, *, now: float | None = None, expires_in: int = 1800) -> dict[str, str]:
        timestamp = bce_time(time.time() if now is None else now)
        signed = {"host": f"127.0.0.1:{self.sandbox.port}", "x-bce-date": timestamp}
        authorization = sign(
            self.access_key,
            self.secret_key,
            signed,
            query=query,
            timestamp=timestamp,
            expires_in=expires_in,
        )
        return {**signed, "Content-Type": "application/json", "Authorization": authorization}

    def send(self, content: bytes, headers: dict[str, str], *, target: str, method: str = "POST") -> Response:
        self.connection.request(method, target, content, headers)
        response = self.connection.getresponse()
        return Response(response.status, response.headers, response.read())

    def object(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        host: str | None = None,
    ) -> Response:
        """Send a request to the object store, with the headers of the default set and `x-bce-*` signed."""
        timestamp = bce_time(time.time())
        sent = {
            "host": host or f"127.0.0.1:{self.sandbox.port}",
            "x-bce-date": timestamp,
            "content-length": str(len(content)),
            **(headers or {}),
        }
        default = ("host", "content-length", "content-type", "content-md5")
        signed = {name: value for name, value in sent.items() if name in default or name.startswith("x-bce-")}
        canonical_query = "&".join(
            sorted(part if "=" in part else f"{part}=" for part in filter(None, query.split("&")))
        )
        authorization = sign(
            self.access_key,
            self.secret_key,
            signed,
            query=canonical_query,
            timestamp=timestamp,
            method=method,
            path=path,
            listed="",
        )
        target = f"{path}?{query}" if query else path
        return self.send(content, {**sent, "Authorization": authorization}, target=target, method=method)

    def post(self, action: str, content: bytes) -> Response:
        query = f"Action={action}"
        return self.send(content, self.headers(query), target=f"{ROUTE}?{query}")

    def call(self, action: str, **body: Any) -> Response:
        return self.post(action, json.dumps(body).encode())

    def create(self, **body: Any) -> Response:
        return self.call("CreateBatchInferenceTask", **{**CREATION, **body})

    def describe(self, task_id: str) -> Response:
        return self.call("DescribeBatchInferenceTask", taskId=task_id)

    def stop(self, task_id: str) -> Response:
        return self.call("StopBatchInferenceTask", taskId=task_id)

    def delete(self, task_id: str) -> Response:
        return self.call("DeleteBatchInferenceTask", taskId=task_id)

    def list(self, **body: Any) -> Response:
        return self.call("DescribeBatchInferenceTasks", **body)

    def models(self) -> Response:
        return self.call("DescribeBatchInferenceModel")
