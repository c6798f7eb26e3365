"""One plans, another approves: what a signed plan file says can't be changed by anybody else."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.dataframes import plan_links, write_links
from incarts_pipeline.errors import (
    CatalogError,
    MissingExtraError,
    PublishError,
    RefusedError,
    SettingsError,
)
from incarts_pipeline.installation import install_line
from incarts_pipeline.pipeline import apply_plan, plan_catalog, plan_saved
from incarts_pipeline.plan import PlanRequest, QrRequest, load_plan, new_keys, save_plan, sign_plan
from incarts_pipeline.plan.signature import public_keys, signed, signer_of
from incarts_pipeline.qr_codes import apply_qr_codes, plan_qr_codes
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from tests.plan.test_plan_file import MAPPING, saved
from tests.support.runs import Run, products
from tests.test_file_writer import mode, umask


@pytest.fixture
def catalog() -> str:
    """A catalog of 5 products in a file."""
    pacsv.write_csv(products(5), "catalog.csv")
    return "catalog.csv"


@pytest.fixture
def keys() -> tuple[str, str]:
    """The public keys of an approver and of somebody else; the private ones are in files."""
    return new_keys("approver.key"), new_keys("other.key")


def edited(change: Callable[[dict[str, Any]], object]) -> None:
    """Change a plan file as somebody would who knows how its sha256 is made."""
    path = Path("plan.incarts")
    content = json.loads(path.read_text())
    change(content)
    inside = {k: v for k, v in content.items() if k not in ("sha256", "signature")}
    text = json.dumps(inside, sort_keys=True, separators=(",", ":")).encode()
    content["sha256"] = hashlib.sha256(text).hexdigest()
    path.write_text(json.dumps(content))


def carried_out(settings: Settings, **more: object) -> int:
    """Apply the plan file; return the exit code."""
    used = settings.model_copy(update=more)
    with plan_saved(load_plan("plan.incarts"), used) as plan:
        return run_blocking(
            lambda stop: apply_plan(plan, used, "out.parquet", stop=stop)
        ).exit_code()


def members(content: dict[str, Any]) -> list[str]:
    """Return all names of a plan file but the two that cover it."""
    return [name for name in content if name not in ("sha256", "signature")]


def test_everything_in_a_plan_file_is_covered(settings: Settings, catalog: str) -> None:
    """Whatever stands in it: what is changed, taken away or added is told, before it is read."""
    path = Path(saved(settings, catalog, mapping=MAPPING, link_set=None, unique_key=()))
    content = json.loads(path.read_text())
    for name in members(content):
        if name in ("format", "mapping", "catalog"):
            continue  # of another kind they are no plan's at all, which is told first
        for changed in (content | {name: "other"}, {k: v for k, v in content.items() if k != name}):
            path.write_text(json.dumps(changed))
            with pytest.raises((RefusedError, CatalogError), match=r"edited|no plan|not a plan"):
                load_plan(path)
    for change in (
        {"catalog": "/other.csv"},
        {"mapping": MAPPING | {"link_set": "other"}},
        {"refuse_over": 100},
        {"allow_empty": True},
        {"base_url": "https://api.example.com"},
        {"project_id": "other"},
        {"digest": "0" * 12},
        {"made_at": "2020-01-01"},
        {"something": "new"},
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(RefusedError, match="was edited") as told:
            load_plan(path)
        assert told.value.guard == "plan_edited"
    path.write_text(json.dumps(dict(reversed(content.items()))))  # it is what is said that counts
    assert load_plan(path).digest == content["digest"]


def test_signed_plan_is_carried_out(
    settings: Settings, box: Sandbox, catalog: str, keys: tuple[str, str]
) -> None:
    """By its key itself or by a file of keys, and from Python as from a plan of a frame."""
    saved(settings, catalog)
    planned = load_plan("plan.incarts")
    assert planned.signed_by is None
    sign_plan(planned, "approver.key", "plan.incarts")
    assert load_plan("plan.incarts").signed_by == keys[0]
    Path("keys").write_text("\n".join(reversed(keys)) + "\n")
    for required in (keys[0], f"{keys[0]} approver@example.com", "approver.key.pub", "keys"):
        assert carried_out(settings, require_signature=required) == 0
    assert (box.audit().links, box.audit().duplicates) == (5, 0)


def test_plan_of_a_frame_is_signed(settings: Settings, keys: tuple[str, str]) -> None:
    """The one who plans may be the one who signs, too."""
    with plan_links(products(2), link_set="t", unique_key="sku", settings=settings) as plan:
        plan.save("plan.incarts", sign="approver.key")
    assert carried_out(settings, require_signature=keys[0]) == 0


@pytest.mark.parametrize("by", [None, "other.key"])
def test_without_the_right_signature_nothing_is_sent(
    settings: Settings, box: Sandbox, catalog: str, keys: tuple[str, str], by: str | None
) -> None:
    """Unsigned, signed by somebody else, or no plan file at all: refused, with the way out."""
    saved(settings, catalog)
    if by is not None:
        sign_plan(load_plan("plan.incarts"), by, "plan.incarts")
    with pytest.raises(RefusedError, match="Only a plan that is signed with ssh-ed25519") as told:
        carried_out(settings, require_signature="approver.key.pub")
    assert (told.value.guard, "--sign KEYFILE" in str(told.value.fix)) == ("unsigned_plan", True)
    used = settings.model_copy(update={"require_signature": keys[0]})
    with pytest.raises(RefusedError, match="it isn't signed"):
        write_links(
            catalog,
            settings=used,
            link_set="test",
            unique_key="sku",
            output="o.parquet",
            progress=False,
        )
    assert box.audit().requests == 0


@pytest.mark.parametrize(
    "change",
    [
        {"refuse_over": 100},
        {"allow_empty": True},
        {"link_set": "other"},
        {"retry_rejected": True},
        {"accept": ["looks_like_gtin"]},
        {"rekeyed": "move"},
        {"encoding": "cp1252"},
        {"made_at": "2020-01-01"},
        {"new": "thing"},
    ],
)
def test_a_signature_covers_what_a_new_digest_could_not(
    settings: Settings, box: Sandbox, catalog: str, keys: tuple[str, str], change: dict[str, Any]
) -> None:
    """Somebody who edits the file and makes all its sums anew has no signature for it."""
    request = PlanRequest(catalog=catalog, link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        save_plan(plan, request, settings, "plan.incarts", sign="approver.key")
    edited(lambda content: content.update(change))
    with pytest.raises(RefusedError, match="its signature is none of this plan"):
        carried_out(settings, require_signature=keys[0])
    edited(lambda content: content.pop("signature"))
    with pytest.raises(RefusedError, match=r"it isn't signed|has moved|The plan is for"):
        carried_out(settings, require_signature=keys[0])
    assert box.audit().requests == 0


def test_another_catalog_with_its_own_digest(
    settings: Settings, box: Sandbox, catalog: str, keys: tuple[str, str]
) -> None:
    """Catalog, digest and sums changed together: what is signed is another plan's."""
    saved(settings, catalog)
    sign_plan(load_plan("plan.incarts"), "approver.key", "plan.incarts")
    signature = json.loads(Path("plan.incarts").read_text())["signature"]
    pacsv.write_csv(products(5, quantity=[9] * 5), "theirs.csv")
    theirs = json.loads(Path(saved(settings, "theirs.csv")).read_text())
    edited(lambda content: content.update(theirs | {"signature": signature}))
    with pytest.raises(RefusedError, match="its signature is none of this plan"):
        carried_out(settings, require_signature=keys[0])
    assert box.audit().requests == 0


def test_rows_that_need_no_call_are_covered(settings: Settings, run: Run) -> None:
    """The sum over all requests is of full length, and of those that stay as they are, too."""
    mapping = MAPPING | {"on_change": {"label": "ignore"}}
    run(products(3), mapping=mapping)
    pacsv.write_csv(products(4), "catalog.csv")
    path = saved(settings, "catalog.csv", mapping=mapping, link_set=None, unique_key=())
    assert len(load_plan(path).requests) == 64
    pacsv.write_csv(products(4, name=["other", *"bcd"]), "catalog.csv")
    with pytest.raises(RefusedError, match="has moved"):
        plan_saved(load_plan(path), settings)


def test_changes_are_nobodys_plan(settings: Settings, catalog: str, keys: tuple[str, str]) -> None:
    """Whoever changes the request of a signed plan has no signature for it."""
    saved(settings, catalog)
    sign_plan(load_plan("plan.incarts"), "approver.key", "plan.incarts")
    with plan_saved(load_plan("plan.incarts"), settings, encoding="cp1252") as plan:
        assert plan.signed_by is None


def test_codes_of_links_need_no_plan_file(
    settings: Settings, run: Run, keys: tuple[str, str]
) -> None:
    """Only links are planned into files; codes lead to links that were approved."""
    run(products(1))
    used = settings.model_copy(update={"require_signature": keys[0]})
    request = QrRequest(source="links.parquet", identifiers=("shelf",))
    with plan_qr_codes(request, used) as plan:
        result = run_blocking(lambda stop: apply_qr_codes(plan, used, "codes.parquet", stop=stop))
    assert result.exit_code() == 0


def test_keys_are_files_of_the_right_mode() -> None:
    """The private key is its owner's alone; neither is written over anything."""
    with umask(0):
        line = new_keys("approver.key")
    assert mode(Path("approver.key")) == 0o600
    assert Path("approver.key.pub").read_text() == f"{line}\n"
    assert line not in Path("approver.key").read_text()
    with pytest.raises(PublishError, match=r"approver\.key exists"):
        new_keys("approver.key")
    Path("other.key.pub").symlink_to("victim")
    with pytest.raises(PublishError, match=r"other\.key\.pub exists"):
        new_keys("other.key")
    assert not Path("other.key").exists()


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read_signs_nothing(keys: tuple[str, str], loose: int) -> None:
    """The way out is said."""
    Path("approver.key").chmod(loose)
    with pytest.raises(SettingsError, match=r"type `chmod 600 approver\.key`"):
        signed(b"plan", "approver.key")


def test_what_is_no_key_is_named(keys: tuple[str, str]) -> None:
    """By its file, without a word of what is in it."""
    Path("text").write_text("hunter2 hunter2")
    Path("text").chmod(0o600)
    for read in (lambda: signed(b"plan", "text"), lambda: public_keys("text")):
        with pytest.raises(SettingsError, match=r"^text has no") as told:
            read()
        assert "hunter2" not in str(told.value)
    with pytest.raises(SettingsError, match="with the public key, and a private one was given"):
        public_keys("approver.key")
    for missing in (lambda: signed(b"plan", "gone"), lambda: public_keys("gone")):
        with pytest.raises(SettingsError, match="The key file gone can't be read"):
            missing()
    with pytest.raises(SettingsError, match="no public ed25519 key"):
        public_keys("ssh-ed25519 AAAA")


@pytest.mark.parametrize(
    "wrong", [None, "text", {}, {"key": 1, "value": "x"}, {"key": "ssh-ed25519 x"}]
)
def test_what_is_no_signature_is_nobodys(wrong: object) -> None:
    """Whatever stands there, it is an error of ours, or none."""
    assert signer_of(b"plan", wrong) is None


def test_openssh_reads_our_keys_and_we_read_its(keys: tuple[str, str]) -> None:
    """Whoever has keys of ssh-keygen takes those."""
    try:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "theirs.key"], check=True
        )
    except FileNotFoundError:
        pytest.skip("no ssh-keygen here")
    ours = subprocess.check_output(["ssh-keygen", "-y", "-f", "approver.key"], text=True)
    assert ours.split()[:2] == keys[0].split()
    signature = signed(b"plan", "theirs.key")
    assert (signer_of(b"plan", signature),) == public_keys("theirs.key.pub")


def test_a_missing_package_names_its_extra(
    settings: Settings, catalog: str, keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, plans that nobody signed go on working."""
    saved(settings, catalog)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    assert carried_out(settings) == 0
    for needs in (
        lambda: new_keys("more.key"),
        lambda: carried_out(settings, require_signature="k"),
    ):
        with pytest.raises(MissingExtraError) as told:
            needs()
        assert told.value.fix == install_line("sign")
