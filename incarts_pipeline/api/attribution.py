"""Attribution: whose an answer is, and what proves it. Pure.

Servers, proxies and libraries swap, double and delay answers, and a connection that is kept alive
hands the late answer of one request to the next. So an answer counts for a request only when
nothing speaks against it: neither the correlation id that it echoes, nor what it says was made.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from incarts_pipeline.models import Answer, AnswerKind, Link, Proof, QrCode, RateHints


class Foreign(StrEnum):
    """Why an answer is not the request's that it came to."""

    ANSWER = "foreign_answer"  # it echoes the correlation id of another one
    CONTENT = "foreign_content"  # what it says was made differs from what was asked for


_NAMED = ("projectId", "retailer", "intent", "name", "customUrl")
_COMPARED = frozenset({*_NAMED, "products"})
_TELLING = frozenset({"name", "customUrl", "products", "linkId"})  # what few links share
_PROOFS = {
    (True, True): Proof.ECHO_AND_CONTENT,
    (True, False): Proof.ECHO,
    (False, True): Proof.CONTENT,
    (False, False): Proof.NOTHING_AGAINST_IT,
}

Pair = tuple[str, Any, Any]  # a field, what was sent, and what the answer has


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for.

    `body` is None where a link, `link_id`, is read; where both are given, a QR code of that link is
    made. `earlier` are the correlation ids of earlier attempts under the same key; `in_doubt` is
    whether one of them may have had an effect.
    """

    correlation_id: str
    body: bytes | None = None
    link_id: str | None = None
    earlier: Collection[str] = ()
    in_doubt: bool = False


def attribute(answer: Answer, request: Request) -> Answer:
    """Return the answer with what proves it, or, when it is not the request's, as none at all.

    An answer of another request is no answer to this one, whatever its status: it is `UNKNOWN`, has
    neither status nor hints, and its `error_code` is one of `Foreign`. One key has one link, so
    that an earlier attempt's answer may bring it; but its refusal says nothing of this attempt.

    With the right echo, a difference in `name` alone is the server's own spelling.
    """
    echoed = _is_echo(answer.echoed_id, request, of_any=answer.made is not None)
    if echoed is False:
        return _disowned(answer, Foreign.ANSWER, f"it echoes correlation id {answer.echoed_id}")
    if answer.made is None:
        return answer
    pairs = _pairs(answer.made, request, echoed=bool(echoed))
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    if differing and not (echoed and [field for field, *_ in differing] == ["name"]):
        told = "; ".join(f"{field} is {found!r}, not {sent!r}" for field, sent, found in differing)
        return _disowned(answer, Foreign.CONTENT, told)
    by_content = any(field in _TELLING for field, *_ in pairs) and not differing
    return replace(answer, proof=_PROOFS[bool(echoed), by_content], is_renamed=bool(differing))


def is_in_step(answer: Answer) -> bool:
    """Say whether the connection that an answer came on has nothing more to say.

    After an answer of another request, or of an earlier attempt, this one's own is still to come;
    so it may be after an error of something in between.
    """
    own = answer.echoed_id in (None, answer.correlation_id) and answer.is_own
    return own and answer.kind is not AnswerKind.UNKNOWN


def _is_echo(echoed_id: str | None, request: Request, *, of_any: bool) -> bool | None:
    """Say whether an answer echoes this attempt, or any of them; None where it echoes none."""
    if echoed_id is None:
        return None
    return echoed_id == request.correlation_id or (of_any and echoed_id in request.earlier)


def _disowned(answer: Answer, code: Foreign, why: str) -> Answer:
    return Answer(
        kind=AnswerKind.UNKNOWN,
        correlation_id=answer.correlation_id,
        echoed_id=answer.echoed_id,
        error_code=code.value,
        error_message=f"the answer is another request's ({answer.status}): {why}"[:300],
        hints=RateHints(),
    )


def _pairs(made: Link | QrCode, request: Request, *, echoed: bool) -> Sequence[Pair]:
    """Return what can be compared of what was asked for and what was answered."""
    if request.body is None:
        # With the echo, somebody may have changed the link.
        return () if echoed else [("id", request.link_id, made.id)]
    if isinstance(made, QrCode):
        return list(_code_pairs(made, request))
    if made.raw.keys().isdisjoint(_COMPARED):
        return ()  # what was sent needn't be parsed
    sent = _content(request.body)
    pairs = []
    for field in _NAMED:
        was, now = sent.get(field), made.raw.get(field)
        if isinstance(was, str) and isinstance(now, str):
            pairs.append(_pair(field, was, now))
    if not _is_smart(sent):
        was_ids, now_ids = _product_ids(sent), _product_ids(made.raw)
        if was_ids is not None and now_ids is not None:
            pairs.append(("products", was_ids, now_ids))
    return pairs


def _code_pairs(code: QrCode, request: Request) -> Iterator[Pair]:
    if code.link_id is not None:
        yield "linkId", request.link_id, code.link_id
    identifier = _content(request.body or b"").get("identifier")
    if isinstance(identifier, str) and code.identifier is not None:
        yield _pair("identifier", identifier, code.identifier)


def _pair(field: str, was: str, now: str) -> Pair:
    return (field, was, now) if was == now else (field, _plain(was), _plain(now))


def _content(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(str(body, "utf-8"))
    except ValueError:  # whoever calls the client may send what they like
        return {}
    return content if isinstance(content, dict) else {}


def _plain(text: str) -> str:
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text).strip()


def _is_smart(sent: Mapping[str, Any]) -> bool:
    """Say whether Incarts may put a backup in a product's place: a location turns that on."""
    location = sent.get("location")
    return isinstance(location, dict) and bool(location.get("zipCode"))


def _product_ids(content: Mapping[str, Any]) -> Sequence[str] | None:
    """Return the ids of all products, sorted; None where they can't be told."""
    products = content.get("products")
    if not isinstance(products, list) or not products:
        return None
    ids = [one.get("retailerProductId") if isinstance(one, dict) else None for one in products]
    told = [_plain(one) for one in ids if isinstance(one, str)]
    return sorted(told) if len(told) == len(ids) else None
