"""What of a link that was read back is compared with what was sent, and what isn't."""

from __future__ import annotations

import json
from typing import Any

import pytest

from incarts_pipeline.api.responses import parse_link
from incarts_pipeline.ledger.queries import MadeLink
from incarts_pipeline.maintenance.compare import Verdict, differences, judge
from incarts_pipeline.models import Answer, AnswerKind, Link

SENT: dict[str, Any] = {
    "projectId": "demo",
    "name": "Oats",
    "publicName": "Oat flakes",
    "retailer": "walmart",
    "intent": "add_to_cart",
    "products": [
        {"retailerProductId": "1", "quantity": 2, "backupProductIds": ["8", "9"]},
        {"retailerProductId": "2", "quantity": 1},
    ],
    "metadata": {"campaign": "spring"},
}
ANSWERED = {
    **SENT,
    "id": "lnk_1",
    "status": "active",
    "shortLink": "https://in2carts.com/a",
    "targetUrl": "https://www.walmart.com/x",
    "qrCode": {"id": "qr_1", "encodedUrl": "https://in2carts.com/a"},
}


def made(**sent: object) -> MadeLink:
    """Return a link as it was made, with changes to what was sent."""
    return MadeLink(
        link_id="lnk_1",
        body=json.dumps(SENT | sent).encode(),
        target_url="https://www.walmart.com/x",
        short_link="https://in2carts.com/a",
        encoded_url="https://in2carts.com/a",
    )


def read(**changes: object) -> Link:
    """Return the link as it is read back, with changes; None leaves a field out."""
    content = {name: value for name, value in (ANSWERED | changes).items() if value is not None}
    link = parse_link({"data": content})
    assert link is not None
    return link


def found(link: Link, **sent: object) -> list[str]:
    """Return the fields that differ."""
    return [one.field for one in differences(made(**sent), link)]


def test_equal_link_has_no_differences() -> None:
    """What comes back as it was sent is no drift."""
    assert found(read()) == []


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("id", "lnk_2", "id"),
        ("projectId", "other", "projectId"),
        ("name", "Rice", "name"),
        ("publicName", "Rice", "publicName"),
        ("retailer", "target", "retailer"),
        ("intent", "product_detail", "intent"),
        ("metadata", {"campaign": "fall"}, "metadata"),
        ("metadata", {}, "metadata"),
        ("products", [{"retailerProductId": "1", "quantity": 2}], "products"),
        ("products", [{"retailerProductId": "8"}, {"retailerProductId": "2"}], "products"),
        ("products", ["1", "2"], "products"),
        ("targetUrl", "https://www.walmart.com/y", "target_url"),
        ("shortLink", "https://in2carts.com/b", "short_link"),
        ("qrCode", {"id": "qr_1", "encodedUrl": "https://in2carts.com/b"}, "qr_encoded_url"),
    ],
)
def test_each_compared_field(field: str, value: object, named: str) -> None:
    """A field that differs is named, with both values."""
    [one] = differences(made(), read(**{field: value}))
    assert one.field == named
    assert one.sent != one.found


def test_absent_fields_are_not_compared() -> None:
    """All but the id is optional in an answer: what it doesn't carry has not drifted."""
    optional = [name for name in ANSWERED if name != "id"]
    assert found(read(**dict.fromkeys(optional))) == []
    assert differences(MadeLink(link_id="lnk_1"), read()) == []


def test_added_fields_are_no_drift() -> None:
    """Incarts may add members of its own to metadata and products."""
    products = [one | {"offerId": "o"} for one in SENT["products"]]
    metadata = SENT["metadata"] | {"incarts": 1}
    assert found(read(products=products, metadata=metadata, offers=[])) == []


def test_smart_select_may_take_a_backup() -> None:
    """With a location Incarts resolves the products: a backup and another target are no drift."""
    location = {"zipCode": "72712"}
    taken = [{"retailerProductId": "9", "quantity": 2}, SENT["products"][1]]
    link = read(products=taken, targetUrl="https://www.walmart.com/y", location={"storeId": "1"})
    assert found(link, location=location) == []
    assert found(link) == ["products", "target_url"]
    other = [{"retailerProductId": "7", "quantity": 2}, SENT["products"][1]]
    assert found(read(products=other), location=location) == ["products"]


@pytest.mark.parametrize(
    ("kind", "status", "verdict"),
    [
        (AnswerKind.REFUSED, 404, Verdict.GONE),
        (AnswerKind.WRONG_ENDPOINT, 404, Verdict.UNREADABLE),
        (AnswerKind.REFUSED, 400, Verdict.UNREADABLE),
        (AnswerKind.FORBIDDEN, 403, Verdict.UNREADABLE),
        (AnswerKind.UNKNOWN, 500, Verdict.UNREADABLE),
        (AnswerKind.UNAUTHORIZED, 401, Verdict.NOT_CHECKED),
        (AnswerKind.RATE_LIMITED, 429, Verdict.NOT_CHECKED),
        (AnswerKind.NOT_SENT, None, Verdict.NOT_CHECKED),
    ],
)
def test_answers_without_a_link(kind: AnswerKind, status: int | None, verdict: Verdict) -> None:
    """Only the API's own 404 says that a link is gone."""
    answer = Answer(kind=kind, correlation_id="incarts-test", status=status)
    assert judge(made(), answer).verdict is verdict
    assert judge(made(), None).verdict is Verdict.NOT_CHECKED


def test_status_comes_before_drift() -> None:
    """A link that is not active is reported as such, with what else differs."""
    answer = Answer(
        kind=AnswerKind.LINK,
        correlation_id="incarts-test",
        status=200,
        made=read(status="archived", name="Rice"),
    )
    result = judge(made(), answer)
    assert (result.verdict, result.status) == (Verdict.INACTIVE, "archived")
    assert [one.field for one in result.differences] == ["name"]
