"""The sandbox keeps the API's contract: every rule with its status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import segno

from incarts_pipeline.sandbox import ApiKey, Limit, Sandbox, SandboxConfig
from incarts_pipeline.sandbox.config import ALL_SCOPES, ErrorShape
from tests.support.sandbox_caller import NOON, Caller, Clock, calling

_ULID = "[0-9A-HJKMNP-TV-Z]{26}"
_PRODUCT = {"retailerProductId": "1", "quantity": 1}


@pytest.fixture
def call(box: Sandbox) -> Iterator[Caller]:
    """A caller with all scopes."""
    with calling(box) as caller:
        yield caller


def test_link_is_what_the_contract_says(box: Sandbox, call: Caller) -> None:
    """A created link carries every published field."""
    answer = call.create(publicName="Milk", metadata={"a": [1, None]})
    assert answer.status_code == 201
    link = answer.json()["data"]
    assert re.fullmatch(f"lnk_{_ULID}", link["id"])
    assert link["projectId"] == "demo"
    assert (link["name"], link["publicName"], link["status"]) == ("Oat Milk", "Milk", "active")
    assert (link["retailer"], link["intent"]) == ("walmart", "add_to_cart")
    assert link["products"] == [{"retailerProductId": "123456789", "quantity": 1}]
    assert link["shortLink"] == f"{box.base_url}/s/{link['shortId']}"
    assert link["metadata"] == {"a": [1, None]}
    assert link["createdAt"] == link["updatedAt"]
    code = link["qrCode"]
    assert re.fullmatch(f"qr_{_ULID}", code["id"])
    assert (code["linkId"], code["isDefault"]) == (link["id"], True)
    assert code["encodedUrl"] == link["shortLink"]


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        (
            {"products": [_PRODUCT, {"retailerProductId": "22", "quantity": 3}]},
            "https://www.walmart.com/sc/cart/addToCart?items=1_1,22_3",
        ),
        (
            {"retailer": "shop", "intent": "custom_url", "customUrl": "https://shop.example/a?b=c"},
            "https://shop.example/a?b=c",
        ),
        (
            {"retailer": "target", "intent": "product_detail", "products": [_PRODUCT]},
            "https://www.target.com/p/1",
        ),
        (
            {
                "retailer": "instacart",
                "intent": "recipe",
                "options": {"instacart": {"recipe": {"title": "Soup"}}},
            },
            "https://www.instacart.com/store/partner_recipe",
        ),
        (
            {
                "retailer": "instacart",
                "intent": "shopping_list",
                "options": {"instacart": {"shoppingList": {}}},
            },
            "https://www.instacart.com/store/partner_shopping_list",
        ),
    ],
)
def test_short_link_redirects(call: Caller, changes: dict[str, Any], target: str) -> None:
    """A short link leads to its retailer's page."""
    link = call.create(**changes).json()["data"]
    assert link["targetUrl"] == target
    answer = call.http.get(link["shortLink"])
    assert (answer.status_code, answer.headers["location"]) == (302, target)


def test_unknown_short_link(box: Sandbox, call: Caller) -> None:
    """A short link or image that was never made is not found."""
    assert call.http.get("/s/nothing").status_code == 404
    assert call.http.get("/qr/nothing.png").status_code == 404
    link = call.create().json()["data"]
    assert call.http.get(f"/qr/{link['shortId']}.png?code=none").status_code == 404


def test_qr_images_are_real(call: Caller) -> None:
    """The images are PNGs of the codes of exactly the encoded URLs."""
    link = call.create().json()["data"]
    other = call.qr(link["id"]).json()["data"]
    for code in (link["qrCode"], other):
        answer = call.http.get(code["imageUrl"])
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(b"\x89PNG\r\n")
        modules = segno.make_qr(code["encodedUrl"], error="m").symbol_size(scale=8)[0]
        assert int.from_bytes(answer.content[16:20]) == modules
    assert other["encodedUrl"] == f"{link['shortLink']}?qr=shelf-1"
    assert call.http.get(other["encodedUrl"]).headers["location"] == link["targetUrl"]


def test_short_domain_is_a_switch(box: Sandbox, call: Caller) -> None:
    """Short links can point at another domain; the sandbox still knows where they lead."""
    box.reconfigure(short_domain="https://in2carts.com")
    link = call.create().json()["data"]
    assert link["shortLink"] == f"https://in2carts.com/s/{link['shortId']}"
    assert link["qrCode"]["encodedUrl"] == link["shortLink"]
    assert call.http.get(f"/s/{link['shortId']}").status_code == 302


def test_read_link(call: Caller) -> None:
    """A link reads back as it was made."""
    link = call.create().json()["data"]
    answer = call.http.get(f"/v1/links/{link['id']}")
    assert (answer.status_code, answer.json()) == (200, {"data": link})
    assert call.http.get("/v1/links/lnk_nothing").status_code == 404


def test_smart_select_is_a_switch(box: Sandbox, call: Caller) -> None:
    """With a ZIP code a Walmart link names offers and a store, unless that is off."""
    location = {"zipCode": "02139", "storeId": "77"}
    link = call.create(location=location).json()["data"]
    assert link["location"] == location
    assert link["offers"] == [{"retailerProductId": "123456789", "storeId": "77"}]
    assert call.create(location={"zipCode": "02139"}).json()["data"]["location"]["storeId"]
    assert call.http.get(f"/v1/links/{link['id']}").json()["data"] == link
    box.reconfigure(smart_select=False)
    assert "offers" not in call.create(location=location).json()["data"]


@pytest.mark.parametrize("given", [{}, {"X-Incarts-API-Key": "ic_other"}])
def test_unknown_key_is_401(box: Sandbox, given: dict[str, str]) -> None:
    """Without a valid key there is no answer, not even for what doesn't exist."""
    with httpx.Client(base_url=box.base_url, headers=given, trust_env=False) as http:
        assert http.post("/v1/links", content=b"{").status_code == 401
        assert http.get("/v1/links/lnk_x").status_code == 401


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Correlation-ID"])
@pytest.mark.parametrize(("length", "status"), [(7, 400), (8, 201), (128, 201), (129, 400)])
def test_header_lengths(call: Caller, name: str, length: int, status: int) -> None:
    """Both headers have 8 to 128 characters."""
    answer = call.http.post("/v1/links", json=call.body(), headers={name: "k" * length})
    assert answer.status_code == status


@pytest.mark.parametrize("name", ["Oat Milk", ""])
def test_correlation_id_is_echoed(call: Caller, name: str) -> None:
    """Successes and errors carry the caller's own id back."""
    headers = {"X-Correlation-ID": "corr-0001"}
    answer = call.http.post("/v1/links", json=call.body(name=name), headers=headers)
    assert answer.headers["x-correlation-id"] == "corr-0001"


@pytest.mark.parametrize(
    ("scope", "changes"),
    [
        ("links:write", {}),
        ("retailers:walmart", {}),
        (
            "retailers:custom",
            {"retailer": "walmart", "intent": "custom_url", "customUrl": "https://x.example"},
        ),
        (
            "retailers:instacart",
            {
                "retailer": "instacart",
                "intent": "recipe",
                "options": {"instacart": {"recipe": {}}},
            },
        ),
        ("retailers:target", {"retailer": "target", "intent": "product_detail"}),
    ],
)
def test_missing_scope_is_403(box: Sandbox, scope: str, changes: dict[str, Any]) -> None:
    """Creating needs links:write and its retailer's scope, and no other."""
    retailer = next(one for one in (scope, "retailers:walmart") if one.startswith("retailers"))
    without = ApiKey(key="ic_without", scopes=ALL_SCOPES - {scope})
    enough = ApiKey(key="ic_enough", scopes=frozenset({"links:write", retailer}))
    box.reconfigure(keys=[without, enough])
    with calling(box, without) as caller:
        assert caller.create(**changes).status_code == 403
    with calling(box, enough) as caller:
        assert caller.create(**changes).status_code == 201


def test_other_scopes_are_403(box: Sandbox, call: Caller) -> None:
    """Reading and QR codes need their own scopes."""
    link = call.create().json()["data"]
    box.reconfigure(keys=[ApiKey(scopes=frozenset({"links:write", "retailers:walmart"}))])
    assert call.http.get(f"/v1/links/{link['id']}").status_code == 403
    assert call.qr(link["id"]).status_code == 403


def test_other_projects_are_out_of_reach(box: Sandbox, call: Caller) -> None:
    """A key can't write to another's project, and doesn't see what is there."""
    other = ApiKey(key="ic_other", projects=frozenset({"theirs"}))
    box.reconfigure(keys=[ApiKey(), other])
    link = call.create().json()["data"]
    assert call.create(projectId="theirs").status_code == 403
    with calling(box, other) as caller:
        assert caller.http.get(f"/v1/links/{link['id']}").status_code == 404
        assert caller.qr(link["id"]).status_code == 404
        assert caller.qr(link["id"], projectId="theirs").status_code == 404
        assert caller.create().status_code == 201
    assert call.qr(link["id"], projectId="theirs").status_code == 404


def test_unknown_endpoints(call: Caller) -> None:
    """Unknown paths are 404, known ones with another method 405."""
    assert call.post("/v1/link", {}).status_code == 404
    assert call.http.get("/v1/links/a/b/c").status_code == 404
    assert call.http.get("/v1/links").status_code == 405
    assert call.http.put("/v1/links", json=call.body()).status_code == 405
    assert call.http.delete("/v1/links/lnk_x").status_code == 405
    assert "<html>" in call.http.get("/wrong/v1/links").text


def test_qr_code(box: Sandbox, call: Caller) -> None:
    """One more QR code has the published fields, and its identifier once per link."""
    one, two = (call.create().json()["data"] for _ in range(2))
    answer = call.qr(one["id"], metadata={"aisle": 4})
    code = answer.json()["data"]
    assert answer.status_code == 201
    assert re.fullmatch(f"qr_{_ULID}", code["id"])
    assert (code["linkId"], code["identifier"], code["name"]) == (one["id"], "shelf-1", "Shelf")
    assert (code["isDefault"], code["metadata"]) == (False, {"aisle": 4})
    assert call.qr(one["id"], name="Another").status_code == 409
    assert call.qr(two["id"]).status_code == 201
    assert call.qr("lnk_nothing").status_code == 404
    assert box.audit().qr_codes == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"identifier": "ab"},
        {"identifier": "a" * 65},
        {"identifier": "a_b"},
        {"identifier": "abc\n"},
        {"identifier": 123},
        {"name": ""},
        {"name": "n" * 121},
        {"metadata": []},
        {"projectId": ""},
        {"colour": "red"},
    ],
)
def test_malformed_qr_codes_are_400(call: Caller, changes: dict[str, Any]) -> None:
    """Each broken field of a QR code is refused."""
    link = call.create().json()["data"]
    assert call.qr(link["id"], **changes).status_code == 400


def test_qr_project_is_a_switch(box: Sandbox, call: Caller) -> None:
    """Whether a QR code's body must name its project can be chosen."""
    box.reconfigure(qr_needs_project=True)
    link = call.create().json()["data"]
    assert call.qr(link["id"]).status_code == 400
    assert call.qr(link["id"], projectId="demo").status_code == 201


def test_error_shapes(box: Sandbox, call: Caller) -> None:
    """An error comes in each of the shapes that are seen in the wild."""
    answers = {}
    for shape in ErrorShape:
        box.reconfigure(error_shape=shape)
        answers[shape] = call.create(name="")
        assert answers[shape].status_code == 400
    error = answers[ErrorShape.NESTED].json()["error"]
    assert error["code"] == "invalid"
    assert error["details"] == [{"field": "name", "message": error["message"]}]
    assert answers[ErrorShape.TEXT].json() == {"error": error["message"]}
    assert answers[ErrorShape.FLAT].json() == {"code": "invalid", "message": error["message"]}
    problem = answers[ErrorShape.PROBLEM]
    assert problem.headers["content-type"] == "application/problem+json"
    assert (problem.json()["status"], problem.json()["detail"]) == (400, error["message"])
    assert answers[ErrorShape.HTML].headers["content-type"] == "text/html"
    assert answers[ErrorShape.EMPTY].content == b""


def test_limit_answers_429(box: Sandbox) -> None:
    """Over the limit nothing is made, the hint is there, and time heals it."""
    clock = Clock()
    config = SandboxConfig(limits=(Limit(requests=2, seconds=60),))
    with Sandbox(config, clock=clock) as limited, calling(limited) as caller:
        answers = [caller.create() for _ in range(3)]
        assert [one.status_code for one in answers] == [201, 201, 429]
        assert answers[2].headers["retry-after"] == "60"
        clock.now = NOON + 60
        assert caller.create().status_code == 201
        audit = limited.audit()
        assert (audit.links, audit.statuses) == (3, {"201": 3, "429": 1})
        assert audit.limited_share == 0.25


def test_limit_per_project(box: Sandbox, call: Caller) -> None:
    """A limit per project is told apart by the body, and by the link for what has none."""
    box.reconfigure(
        keys=[ApiKey(projects=frozenset({"demo", "more"}))],
        limits=[{"requests": 2, "seconds": 3600, "per": "project"}],
    )
    link = call.create().json()["data"]
    assert call.http.get(f"/v1/links/{link['id']}").status_code == 200
    assert call.qr(link["id"]).status_code == 429
    assert call.create(projectId="more").status_code == 201
    assert call.post("/v1/links", b"{").status_code == 400


@pytest.mark.parametrize(("limit_first", "status"), [(True, 429), (False, 201)])
def test_replays_against_the_limit(
    box: Sandbox, call: Caller, limit_first: bool, status: int
) -> None:
    """Whether a remembered key's replay is limited can be chosen."""
    box.reconfigure(limit_first=limit_first, limits=[{"requests": 1, "seconds": 3600}])
    assert call.create("replayed-1").status_code == 201
    assert call.create("replayed-1").status_code == status
    assert call.create("replayed-2").status_code == 429
    assert call.create().status_code == 429


def test_hints_on_success(box: Sandbox, call: Caller) -> None:
    """RateLimit headers come with links and with other errors too."""
    box.reconfigure(hints="ratelimit", limits=[{"requests": 9, "seconds": 3600}])
    assert ";r=8;" in call.create().headers["ratelimit"]
    assert ";r=7;" in call.create(name="").headers["ratelimit"]
