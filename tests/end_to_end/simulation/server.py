"""An Incarts in memory: makes links, remembers keys for a while, and loses answers on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from incarts_pipeline.models import AnswerKind


class Fault(StrEnum):
    """What befalls one request."""

    NONE = "none"
    NOT_SENT = "not_sent"  # provably never left
    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"  # took effect, the answer was lost
    LATE = "late"  # the client gave up; it takes effect minutes later
    ERROR_BEFORE = "error_before"  # 5xx without effect
    ERROR_AFTER = "error_after"
    HALF_ANSWER = "half_answer"  # or a 2xx without an id
    CONFLICT = "conflict"  # 409
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    REFUSED = "refused"  # 422 in spite of the key
    SWAPPED = "swapped"  # it gets the answer of another request, correlation id and all
    SWAPPED_BODY = "swapped_body"  # it gets what another request made, under its own id
    DOUBLED = "doubled"  # the answer comes a second time, as that of the next request
    LATE_ANSWER = "late_answer"  # a 504, and then the real answer on the same connection
    LINK_OF_ANOTHER = "link_of_another"  # its own answer, but for a link id that another row has
    REDIRECTED = "redirected"  # carried out, and answered with a 303
    PACED_TWICE = "paced_twice"  # a 429 comes again, as the answer of the next request


FAULTS = tuple(Fault)[1:]

_WITHOUT_EFFECT = {
    Fault.NOT_SENT: AnswerKind.NOT_SENT,
    Fault.LOST_BEFORE: AnswerKind.UNKNOWN,
    Fault.CONFLICT: AnswerKind.CONFLICT,
    Fault.RATE_LIMITED: AnswerKind.RATE_LIMITED,
    Fault.PACED_TWICE: AnswerKind.RATE_LIMITED,
    Fault.UNAUTHORIZED: AnswerKind.UNAUTHORIZED,
    Fault.REFUSED: AnswerKind.REFUSED,
}
_ANSWER_LOST = (Fault.LOST_AFTER, Fault.ERROR_AFTER, Fault.HALF_ANSWER)
# After these nothing comes any more on the connection.
BROKEN = (Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.LATE, Fault.HALF_ANSWER)


class Reply(NamedTuple):
    """One answer: what it means, the link, and what it says of whose it is."""

    kind: AnswerKind
    link_id: str | None = None
    echo: str | None = None  # a correlation id
    content: bytes | None = None  # what the link was made of


@dataclass(slots=True)
class _Memory:
    at: float
    body: bytes
    link_id: str | None  # None: an error is what it remembers


@dataclass(slots=True)
class Server:
    """Remembers a key for `window` seconds; `stores_errors` repeats a 5xx under its key.

    Its answers have the correlation id (`echoes`), what was made (`tells`), both, or neither; then
    nobody can tell a swapped one.
    """

    window: float
    stores_errors: bool = False
    echoes: bool = True
    tells: bool = True
    conflicts: bool = False  # 409 while a request with the same key is under way, else it waits
    links: list[tuple[str, bytes, str]] = field(default_factory=list)  # key, body, link id
    bodies: dict[str, set[bytes]] = field(default_factory=dict)  # all that came under a key
    _memory: dict[str, _Memory] = field(default_factory=dict)
    _late: list[tuple[float, str, bytes]] = field(default_factory=list)

    @property
    def is_silent(self) -> bool:
        """Whether nothing in its answers says whose they are."""
        return not self.echoes and not self.tells

    def receive(self, key: str, body: bytes, now: float, fault: Fault, delay: float = 0.0) -> Reply:
        """Answer one request; a LATE one takes effect after `delay` seconds."""
        self.land(now)
        if fault is not Fault.NOT_SENT:
            self.bodies.setdefault(key, set()).add(body)
        if fault in _WITHOUT_EFFECT:
            return Reply(_WITHOUT_EFFECT[fault])
        if self._late and any(late[1] == key for late in self._late):
            if self.conflicts:
                return Reply(AnswerKind.CONFLICT)
            self._effect(key, body, now)
        if fault is Fault.LATE:
            self._late.append((now + delay, key, body))
            return Reply(AnswerKind.UNKNOWN)
        if fault is Fault.ERROR_BEFORE:
            if self.stores_errors and self._remembered(key, now) is None:
                self._memory[key] = _Memory(now, body, None)
            return Reply(AnswerKind.UNKNOWN)
        reply = self._effect(key, body, now)
        if fault is Fault.ERROR_AFTER and self.stores_errors:
            self._memory[key].link_id = None
        return Reply(AnswerKind.UNKNOWN) if fault in _ANSWER_LOST else reply

    def signed(self, reply: Reply, correlation_id: str, body: bytes) -> Reply:
        """Return an answer with what it says of whose it is."""
        if reply.kind in (AnswerKind.UNKNOWN, AnswerKind.NOT_SENT):
            return reply  # nothing came
        echo = correlation_id if self.echoes else None
        return reply._replace(echo=echo, content=body if self.tells and reply.link_id else None)

    def land(self, now: float) -> None:
        """Let the late requests that are due take effect."""
        if not self._late:
            return
        due = [late for late in self._late if late[0] <= now]
        self._late = [late for late in self._late if late[0] > now]
        for at, key, body in due:
            self._effect(key, body, at)

    def _remembered(self, key: str, now: float) -> _Memory | None:
        memory = self._memory.get(key)
        return memory if memory is not None and now - memory.at < self.window else None

    def _effect(self, key: str, body: bytes, now: float) -> Reply:
        memory = self._remembered(key, now)
        if memory is None:
            link_id = f"lnk_{len(self.links)}"
            self.links.append((key, body, link_id))
            self._memory[key] = _Memory(now, body, link_id)
            return Reply(AnswerKind.LINK, link_id)
        if memory.body != body:
            return Reply(AnswerKind.CONFLICT)
        if memory.link_id is None:
            return Reply(AnswerKind.UNKNOWN)
        return Reply(AnswerKind.LINK, memory.link_id)
