"""How lambdas are called and their answers read: the part of a generated client that is the same for all."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import itertools
import json
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx2

_Row = TypeVar("_Row")
_Reader = Callable[[Any], Any]
_JSON = {"Content-Type": "application/json"}
_AGAIN = (429, 503)
_LONGEST_WAIT = 30.0


class LambdaError(Exception):
    """A call that was refused: the server's ``code`` and ``message``, the HTTP ``status`` and the ``request_id`` under
    which the server's log tells more."""

    def __init__(self, status: int, code: str, message: str, request_id: str, details: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {message} (request {request_id})" if request_id else f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.details = details


class UnreachableError(LambdaError):
    """No answer came: there is no connection, it was lost, or the time was over. ``status`` is 0."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(0, "unreachable", str(cause) or type(cause).__name__, "", {})


class Page(list[_Row]):
    """The rows of a page. ``next_cursor`` is what to give as ``cursor`` for the next one; None on the last."""

    next_cursor: str | None = None


@dataclasses.dataclass(frozen=True)
class _Lambda(Generic[_Row]):
    """A lambda as it was generated: its columns are names of an answer, in the order of the fields of ``row``; of the
    parameters in ``nulls``, None is sent as such, of others it means that they are left out."""

    name: str
    version: str
    row: Callable[..., _Row]
    columns: Sequence[tuple[str, _Reader]]
    nulls: frozenset[str] = frozenset()

    def read(self, found: Mapping[str, Any]) -> _Row:
        """A row of an answer."""
        return self.row(*(None if found[name] is None else reader(found[name]) for name, reader in self.columns))

    def page(self, answer: bytes) -> Page[_Row]:
        """The rows of an answer, and what follows."""
        found = _parsed(answer)
        page = Page(self.read(row) for row in found["data"])
        page.next_cursor = found["next_cursor"]
        return page

    def body(self, given: Mapping[str, Any]) -> bytes:
        """The parameters as JSON."""
        kept = {name: value for name, value in given.items() if value is not None or name in self.nulls}
        return json.dumps(kept, default=_sent, ensure_ascii=False).encode()


class _Client:
    """What the client and the asynchronous one share."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8787",
        token: str = "",
        *,
        tag: str = "",
        pinned: bool = False,
        timeout: float = 30.0,
        retries: int = 3,
    ) -> None:
        """Calls the server at ``base_url``, with ``token`` where it needs one. Connections are kept.

        A call is answered by the latest version, by the one that ``tag`` points to, or where ``pinned``, by the one
        that this was generated from. It takes up to ``timeout`` seconds, and is sent again up to ``retries`` times
        where the server is busy, after the time that it asks for, or the connection is lost: a lambda only reads.
        """
        if tag and pinned:
            raise ValueError("give a tag, or pinned=True, not both")
        self._tag, self._pinned, self._retries = tag, pinned, retries
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._open(base_url=base_url, timeout=timeout, headers=headers)

    def _open(self, **options: Any) -> None:
        raise NotImplementedError

    def _path(self, which: _Lambda[Any], suffix: str) -> str:
        at = f"/versions/{which.version}" if self._pinned else f"/tags/{_quoted(self._tag)}" if self._tag else ""
        return f"/v1/lambdas/{_quoted(which.name)}{at}.{suffix}"

    def _pause(self, attempt: int, answer: httpx2.Response | None) -> float | None:
        """Seconds to wait before another try; None where there is none to be made."""
        if attempt >= self._retries or (answer is not None and answer.status_code not in _AGAIN):
            return None
        asked = answer.headers.get("retry-after", "") if answer is not None else ""
        return min(float(asked), _LONGEST_WAIT) if asked.isdigit() else 0.05 * 2**attempt


class _SyncClient(_Client):
    def _open(self, **options: Any) -> None:
        self._http = httpx2.Client(**options)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answer(self, which: _Lambda[Any], given: Mapping[str, Any], suffix: str, *, whole: bool) -> httpx2.Response:
        """A good answer, read as a ``whole`` or open; else what was the matter."""
        body = which.body(given)
        for attempt in itertools.count():
            answer = None
            try:
                request = self._http.build_request("POST", self._path(which, suffix), content=body, headers=_JSON)
                answer = self._http.send(request, stream=True)
                if whole or answer.status_code != 200:
                    answer.read()
                problem: LambdaError | None = _problem(answer)
            except httpx2.TimeoutException as error:
                raise UnreachableError(error) from None
            except httpx2.TransportError as error:
                answer, problem = None, UnreachableError(error)
            if problem is None and answer is not None:
                return answer
            pause = self._pause(attempt, answer)
            if pause is None:
                break
            time.sleep(pause)
        assert problem is not None
        raise problem

    def _call(self, which: _Lambda[_Row], given: Mapping[str, Any]) -> list[_Row]:
        answer = self._answer(which, given, "json", whole=True)
        return [which.read(row) for row in _parsed(answer.content)["data"]]

    def _page(self, which: _Lambda[_Row], given: Mapping[str, Any]) -> Page[_Row]:
        return which.page(self._answer(which, given, "json", whole=True).content)

    def _iterate(self, which: _Lambda[_Row], given: Mapping[str, Any]) -> Iterator[_Row]:
        cursor: str | None = ""
        while cursor is not None:
            answer = self._answer(which, {**given, "cursor": cursor} if cursor else given, "ndjson", whole=False)
            try:
                for line in answer.iter_lines():
                    yield which.read(_parsed(line))
            except httpx2.TransportError as error:
                raise UnreachableError(error) from None
            finally:
                answer.close()
            cursor = answer.headers.get("x-next-cursor")


class _AsyncClient(_Client):
    def _open(self, **options: Any) -> None:
        self._http = httpx2.AsyncClient(**options)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _answer(
        self, which: _Lambda[Any], given: Mapping[str, Any], suffix: str, *, whole: bool
    ) -> httpx2.Response:
        """As the other client's."""
        body = which.body(given)
        for attempt in itertools.count():
            answer = None
            try:
                request = self._http.build_request("POST", self._path(which, suffix), content=body, headers=_JSON)
                answer = await self._http.send(request, stream=True)
                if whole or answer.status_code != 200:
                    await answer.aread()
                problem: LambdaError | None = _problem(answer)
            except httpx2.TimeoutException as error:
                raise UnreachableError(error) from None
            except httpx2.TransportError as error:
                answer, problem = None, UnreachableError(error)
            if problem is None and answer is not None:
                return answer
            pause = self._pause(attempt, answer)
            if pause is None:
                break
            await asyncio.sleep(pause)
        assert problem is not None
        raise problem

    async def _call(self, which: _Lambda[_Row], given: Mapping[str, Any]) -> list[_Row]:
        answer = await self._answer(which, given, "json", whole=True)
        return [which.read(row) for row in _parsed(answer.content)["data"]]

    async def _page(self, which: _Lambda[_Row], given: Mapping[str, Any]) -> Page[_Row]:
        return which.page((await self._answer(which, given, "json", whole=True)).content)

    async def _iterate(self, which: _Lambda[_Row], given: Mapping[str, Any]) -> AsyncIterator[_Row]:
        cursor: str | None = ""
        while cursor is not None:
            answer = await self._answer(which, {**given, "cursor": cursor} if cursor else given, "ndjson", whole=False)
            try:
                async for line in answer.aiter_lines():
                    yield which.read(_parsed(line))
            except httpx2.TransportError as error:
                raise UnreachableError(error) from None
            finally:
                await answer.aclose()
            cursor = answer.headers.get("x-next-cursor")


def _problem(answer: httpx2.Response) -> LambdaError | None:
    """What the server says in an answer that is none; whatever stands before it may say it otherwise."""
    if answer.status_code == 200:
        return None
    try:
        found = json.loads(answer.content)
        error, request_id = found["error"], found["request_id"]
        return LambdaError(answer.status_code, error["code"], error["message"], request_id, error["details"])
    except (ValueError, KeyError, TypeError):
        return LambdaError(answer.status_code, "http", answer.text[:200], answer.headers.get("x-request-id", ""), {})


def _parsed(text: str | bytes) -> Any:
    return json.loads(text, parse_float=decimal.Decimal)


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _sent(value: Any) -> Any:
    """A value as JSON holds it; a moment without a zone is one of UTC."""
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).astimezone(dt.UTC).isoformat()
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    return list(value)


def _same(value: Any) -> Any:
    return value


def _list(reader: _Reader) -> _Reader:
    return lambda items: [None if item is None else reader(item) for item in items]


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _decimal(value: Any) -> decimal.Decimal:
    return decimal.Decimal(value)
