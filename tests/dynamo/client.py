"""Clients of a frontend over HTTP, which write down what they sent and when answers came."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import aiohttp

ANSWER_WITHIN_S = 120.0
WORDS = ("come", "in", "one", "by", "and", "every", "answer", "goes", "out", "first", "word", "takes", "long")
"""Of the sentences that the model's tokenizer was trained on: with a space before it, each is one token."""


class Endpoint(StrEnum):
    """The two that generate text."""

    CHAT = "chat_completions"
    COMPLETIONS = "completions"

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self is Endpoint.CHAT else "/v1/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; `isl_tokens` is the length of the text, to which a chat adds its template."""

    endpoint: Endpoint = Endpoint.CHAT
    stream: bool = True
    isl_tokens: int = 200
    osl_tokens: int = 20

    def body(self, model: str, draw: random.Random) -> dict[str, Any]:
        text = "".join(f" {word}" for word in draw.choices(WORDS, k=self.isl_tokens))
        prompt = {"prompt": text} if self.endpoint is Endpoint.COMPLETIONS else {"messages": [_user(text)]}
        usage = {"stream_options": {"include_usage": True}} if self.stream else {}
        return {"model": model, "max_tokens": self.osl_tokens, "stream": self.stream, **prompt, **usage}


ALL_KINDS = tuple(
    Request(endpoint=endpoint, stream=stream) for endpoint in Endpoint for stream in (False, True)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the client saw of one request; times by its own clock (Unix)."""

    request: Request
    status: int
    sent_s: float
    first_s: float | None
    """When the first text came; None: no text came before the end."""
    ended_s: float
    texts: int
    """Chunks that had text."""
    isl_tokens: int
    osl_tokens: int

    @property
    def ttft_s(self) -> float | None:
        return None if self.first_s is None else self.first_s - self.sent_s


class Client:
    """Sends requests to one frontend for one model."""

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str, *, seed: int = 0) -> None:
        self._session = session
        self._url = url
        self._model = model
        self._draw = random.Random(seed)

    async def ask(self, request: Request) -> Answer:
        """Send *request* and read its answer to the end."""
        sent_s, first_s, texts, usage = time.time(), None, 0, {}
        body = request.body(self._model, self._draw)
        async with self._session.post(f"{self._url}{request.endpoint.path}", json=body) as response:
            async for line in response.content:
                piece = _piece(line, stream=request.stream)
                if piece is None:
                    continue
                if _text(piece):
                    first_s = first_s or time.time()
                    texts += 1
                usage = piece.get("usage") or usage
            status = response.status
        return Answer(
            request=request,
            status=status,
            sent_s=sent_s,
            first_s=first_s,
            ended_s=time.time(),
            texts=texts,
            isl_tokens=usage.get("prompt_tokens", 0),
            osl_tokens=usage.get("completion_tokens", 0),
        )


async def play(
    url: str, model: str, requests: Iterable[Request], *, pace_s: float, seed: int = 0
) -> list[Answer]:
    """Send one request every *pace_s* seconds, whether earlier ones are answered or not; wait for all."""
    async with _connection() as session, asyncio.TaskGroup() as tasks:
        client = Client(session, url, model, seed=seed)
        started_s = time.monotonic()
        sent = []
        for number, request in enumerate(requests):
            await asyncio.sleep(started_s + number * pace_s - time.monotonic())
            sent.append(tasks.create_task(client.ask(request)))
    return [task.result() for task in sent]


async def rise_and_fall(
    url: str, model: str, request: Request, *, steps: Sequence[tuple[float, float]], answers: list[Answer]
) -> None:
    """Send *request* again and again, evenly spaced; each of *steps* is (seconds since the start, requests/s)."""
    async with _connection() as session, asyncio.TaskGroup() as tasks:
        client = Client(session, url, model)
        started_s, next_s = time.monotonic(), 0.0
        for until_s, rate_per_s in steps:
            while next_s < until_s:
                await asyncio.sleep(started_s + next_s - time.monotonic())
                tasks.create_task(client.ask(request)).add_done_callback(partial(_keep, answers))
                next_s += 1 / rate_per_s


def _keep(answers: list[Answer], task: asyncio.Task[Answer]) -> None:
    if not task.cancelled() and task.exception() is None:
        answers.append(task.result())


def _connection() -> aiohttp.ClientSession:
    """As many connections as there are requests, because nobody waits for others' answers."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))


def mixed(count: int, **lengths: int) -> list[Request]:
    """*count* requests that take turns over both endpoints, streamed and not."""
    kinds = itertools.cycle(ALL_KINDS)
    return [
        Request(endpoint=kind.endpoint, stream=kind.stream, **lengths)
        for kind in itertools.islice(kinds, count)
    ]


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _piece(line: bytes, *, stream: bool) -> dict[str, Any] | None:
    text = line.removeprefix(b"data: ") if stream else line
    return json.loads(text) if text.startswith(b"{") else None


def _text(piece: dict[str, Any]) -> str:
    """Text of a chunk or of a whole answer, from either endpoint."""
    for choice in piece.get("choices", []):
        part = choice.get("delta") or choice.get("message") or choice
        if text := part.get("content") or part.get("text"):
            return str(text)
    return ""
