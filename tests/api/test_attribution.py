"""Whose an answer is: by the correlation id that it echoes, and by what it says was made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from incarts_pipeline.api.attribution import Request, attribute, is_in_step
from incarts_pipeline.models import (
    Answer,
    AnswerKind,
    Link,
    Proof,
    QrCode,
    RateHints,
    RatePolicy,
)

OURS, EARLIER, OTHER = "incarts-ours", "incarts-earlier", "incarts-other"
BODY: dict[str, Any] = {
    "projectId": "demo",
    "retailer": "walmart",
    "intent": "add_to_cart",
    "name": "Caf\u00e9 ",
    "customUrl": "https://shop.example/1",
    "products": [{"retailerProductId": "1"}, {"retailerProductId": "2"}],
}


def told(echo: str | None = None, sent: dict[str, Any] | None = None, **answered: object) -> Answer:
    """Return the answer after attribution: a link with these fields, or an error."""
    link = Link(id="lnk_1", raw={"id": "lnk_1", **answered})
    answer = Answer(
        kind=AnswerKind.LINK, correlation_id=OURS, status=201, made=link, echoed_id=echo
    )
    return attribute(answer, _request(sent))


def _request(sent: dict[str, Any] | None = None) -> Request:
    body = json.dumps(BODY | (sent or {})).encode()
    return Request(correlation_id=OURS, body=body, earlier=[EARLIER])


@pytest.mark.parametrize(
    ("echo", "answered", "proof"),
    [
        (OURS, {}, Proof.ECHO),
        (EARLIER, {"name": "Caf\u00e9"}, Proof.ECHO_AND_CONTENT),
        (None, {"name": "Cafe\u0301"}, Proof.CONTENT),
        (None, {"retailer": "walmart", "intent": "add_to_cart"}, Proof.NOTHING_AGAINST_IT),
        (None, {"products": [{"retailerProductId": x} for x in "21"]}, Proof.CONTENT),
        (None, {"products": [{"id": "1"}], "projectId": 5}, Proof.NOTHING_AGAINST_IT),
        (OURS, {"name": "CAFE"}, Proof.ECHO),
    ],
)
def test_proof_is_what_was_there_to_compare(
    echo: str | None, answered: dict[str, object], proof: Proof
) -> None:
    """An echo of any of the attempts proves a link, and so does content that is its own."""
    answer = told(echo, **answered)
    assert (answer.kind, answer.proof) == (AnswerKind.LINK, proof)


@pytest.mark.parametrize(
    ("echo", "answered"),
    [
        (None, {"name": "Tea"}),
        *((echo, {"projectId": "other"}) for echo in (None, OURS)),
        *((echo, {"retailer": "target"}) for echo in (None, OURS)),
        *((echo, {"intent": "custom_url"}) for echo in (None, OURS)),
        *((echo, {"customUrl": "https://shop.example/2"}) for echo in (None, OURS)),
        *((echo, {"products": [{"retailerProductId": "1"}]}) for echo in (None, OURS)),
        (OURS, {"name": "Tea", "retailer": "target"}),
    ],
)
def test_other_content_is_no_answer(echo: str | None, answered: dict[str, object]) -> None:
    """What differs from what was sent was made for somebody else, whatever the echo."""
    answer = told(echo, **answered)
    assert (answer.kind, answer.made, answer.status) == (AnswerKind.UNKNOWN, None, None)
    assert answer.error_code == "foreign_content"
    assert next(iter(answered)) in (answer.error_message or "")
    assert not is_in_step(answer)


def test_smart_select_may_change_products() -> None:
    """With a ZIP code Incarts may put a backup in a product's place."""
    other = [{"retailerProductId": "9"}]
    assert told(products=other, sent={"location": {"zipCode": "10001"}}).made
    assert told(products=other, sent={"location": {"storeId": "1"}}).made is None


@pytest.mark.parametrize("status", [201, 401, 403, 404, 409, 422, 429, 500])
def test_foreign_echo_is_no_answer(status: int) -> None:
    """Whatever its status, the answer of another request says nothing of this one."""
    answer = Answer(
        kind=AnswerKind.REFUSED,
        correlation_id=OURS,
        status=status,
        echoed_id=OTHER,
        hints=RateHints(policies=(RatePolicy(remaining=0),)),
    )
    got = attribute(answer, _request())
    assert (got.kind, got.status, got.hints) == (AnswerKind.UNKNOWN, None, RateHints())
    assert (got.error_code, got.echoed_id) == ("foreign_answer", OTHER)
    assert str(status) in (got.error_message or "")


@pytest.mark.parametrize("echo", [None, OURS, EARLIER])
@pytest.mark.parametrize(
    "kind", [kind for kind in AnswerKind if kind not in (AnswerKind.LINK, AnswerKind.NOT_SENT)]
)
def test_earlier_refusal_says_nothing_of_this_attempt(kind: AnswerKind, echo: str | None) -> None:
    """What made nothing may be an earlier attempt's answer that came twice; this one's is to come.

    A proxy's answer echoes nothing, and counts.
    """
    answer = Answer(kind=kind, correlation_id=OURS, status=429, echoed_id=echo)
    got = attribute(answer, _request())
    if echo == EARLIER:
        assert (got.kind, got.error_code) == (AnswerKind.UNKNOWN, "foreign_answer")
        assert not is_in_step(got)
    else:
        assert got is answer


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (QrCode(id="qr_1", link_id="lnk_1", identifier="shelf"), AnswerKind.LINK),
        (QrCode(id="qr_1"), AnswerKind.LINK),
        (QrCode(id="qr_1", link_id="lnk_2"), AnswerKind.UNKNOWN),
        (QrCode(id="qr_1", identifier="till"), AnswerKind.UNKNOWN),
    ],
)
def test_code_belongs_to_its_link_and_identifier(code: QrCode, kind: AnswerKind) -> None:
    """A QR code of another link, or of another identifier, is not the one that was asked for."""
    request = Request(correlation_id=OURS, body=b'{"identifier":"shelf"}', link_id="lnk_1")
    answer = Answer(kind=AnswerKind.LINK, correlation_id=OURS, status=201, made=code)
    assert attribute(answer, request).kind is kind


def test_link_that_is_read_is_the_one_that_was_asked_for() -> None:
    """Without an echo, another link's answer is another request's."""
    link, request = Link(id="lnk_2"), Request(correlation_id=OURS, link_id="lnk_1")
    answer = Answer(kind=AnswerKind.LINK, correlation_id=OURS, made=link)
    assert attribute(answer, request).error_code == "foreign_content"


@pytest.mark.parametrize(
    ("echo", "kind", "own", "kept"),
    [
        (OURS, AnswerKind.LINK, True, True),
        (None, AnswerKind.RATE_LIMITED, True, True),
        (EARLIER, AnswerKind.LINK, True, False),
        (None, AnswerKind.RATE_LIMITED, False, False),
        (OURS, AnswerKind.UNKNOWN, True, False),
    ],
)
def test_connection_is_kept_only_when_in_step(
    echo: str | None, kind: AnswerKind, own: bool, kept: bool
) -> None:
    """After an error in between, or the answer of an earlier attempt, more may come."""
    answer = Answer(kind=kind, correlation_id=OURS, echoed_id=echo, is_own=own)
    assert is_in_step(answer) is kept
