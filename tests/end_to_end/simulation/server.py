"""An Incarts in memory: makes links, remembers keys for a while, and loses answers on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

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


FAULTS = tuple(Fault)[1:]

_WITHOUT_EFFECT = {
    Fault.NOT_SENT: AnswerKind.NOT_SENT,
    Fault.LOST_BEFORE: AnswerKind.UNKNOWN,
    Fault.CONFLICT: AnswerKind.CONFLICT,
    Fault.RATE_LIMITED: AnswerKind.RATE_LIMITED,
    Fault.UNAUTHORIZED: AnswerKind.UNAUTHORIZED,
    Fault.REFUSED: AnswerKind.REFUSED,
}
_ANSWER_LOST = (Fault.LOST_AFTER, Fault.ERROR_AFTER, Fault.HALF_ANSWER)

Reply = tuple[AnswerKind, str | None]


@dataclass(slots=True)
class _Memory:
    at: float
    body: bytes
    link_id: str | None  # None: an error is what it remembers


@dataclass(slots=True)
class Server:
    """Remembers a key for `window` seconds; `stores_errors` repeats a 5xx under its key."""

    window: float
    stores_errors: bool = False
    conflicts: bool = False  # 409 while a request with the same key is under way, else it waits
    links: list[tuple[str, bytes, str]] = field(default_factory=list)  # key, body, link id
    bodies: dict[str, set[bytes]] = field(default_factory=dict)  # all that came under a key
    _memory: dict[str, _Memory] = field(default_factory=dict)
    _late: list[tuple[float, str, bytes]] = field(default_factory=list)

    def receive(self, key: str, body: bytes, now: float, fault: Fault, delay: float = 0.0) -> Reply:
        """Answer one request; a LATE one takes effect after `delay` seconds."""
        self.land(now)
        if fault is not Fault.NOT_SENT:
            self.bodies.setdefault(key, set()).add(body)
        if fault in _WITHOUT_EFFECT:
            return _WITHOUT_EFFECT[fault], None
        if self._late and any(late[1] == key for late in self._late):
            if self.conflicts:
                return AnswerKind.CONFLICT, None
            self._effect(key, body, now)
        if fault is Fault.LATE:
            self._late.append((now + delay, key, body))
            return AnswerKind.UNKNOWN, None
        if fault is Fault.ERROR_BEFORE:
            if self.stores_errors and self._remembered(key, now) is None:
                self._memory[key] = _Memory(now, body, None)
            return AnswerKind.UNKNOWN, None
        reply = self._effect(key, body, now)
        if fault is Fault.ERROR_AFTER and self.stores_errors:
            self._memory[key].link_id = None
        return (AnswerKind.UNKNOWN, None) if fault in _ANSWER_LOST else reply

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
            return AnswerKind.LINK, link_id
        if memory.body != body:
            return AnswerKind.CONFLICT, None
        if memory.link_id is None:
            return AnswerKind.UNKNOWN, None
        return AnswerKind.LINK, memory.link_id
