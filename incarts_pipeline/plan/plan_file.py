"""Plan files: looked at by one person, applied by another, and refused when the plan has moved.

All that stands in one is covered by its `sha256`, whatever that is, and by the signature that
somebody may put to it. Only these two stand outside.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incarts_pipeline.errors import (
    CatalogError,
    MappingError,
    RefusedError,
    raising_ours,
    reason_of,
)
from incarts_pipeline.file_writer import write_file
from incarts_pipeline.mapping import Mapping, mapping_content
from incarts_pipeline.models import Rekeyed
from incarts_pipeline.outgoing import has_credentials, holds_secret
from incarts_pipeline.plan.named_paths import NamedPath, check_apart
from incarts_pipeline.plan.plan import Plan
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.plan.signature import signed, signer_of
from incarts_pipeline.prepare import Partition
from incarts_pipeline.settings import Settings
from incarts_pipeline.small_files import read_small

SUFFIX = ".incarts"
_MOST_BYTES = 4 * 1024 * 1024  # a request, which is mostly its mapping
_FORMAT = "incarts plan 3"
_EARLIER = ("incarts plan 1", "incarts plan 2")  # whose digests say less
_OUTSIDE = ("sha256", "signature")  # what covers the rest
_FACTS = ("digest", "requests", "project_id", "base_url", "made_at")
# What a plan is made of beside the catalog and its mapping, by the names of PlanRequest.
_REQUEST = (
    "link_set",
    "catalog_format",
    "encoding",
    "delimiter",
    "quote",
    "escape",
    "sheet",
    "records",
    "query",
    "retry_rejected",
    "refuse_over",
    "allow_empty",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """What a plan file holds: what to plan, for which project and target, and what came out.

    `requests` is the SHA-256 of all link requests of the catalog, `content` the whole file;
    `signed_by` is the public key that it is signed with, None for none.
    """

    request: PlanRequest
    digest: str
    requests: str
    project_id: str
    base_url: str | None
    made_at: str
    file: NamedPath
    content: Dict[str, Any]
    signed_by: str | None = None


def save_plan(
    plan: Plan,
    request: PlanRequest,
    settings: Settings,
    path: str | Path,
    *,
    sign: str | Path | None = None,
) -> None:
    """Write a plan to a file (`.incarts`, JSON) that `load_plan` and `incarts apply` take.

    It holds the request, not the rows: applying it reads the catalog again, a lake table in the
    version that was planned.

    Args:
        plan: the plan.
        request: what it was made of.
        settings: what it was made with.
        path: the file, which a new one has for its owner alone.
        sign: the file of an ed25519 key that the plan is signed with; None for no signature.

    Raises:
        CatalogError: the catalog is not a path or a URI that can be read again, or its URI has
            credentials.
        MappingError: the mapping is a Mapping, not what one is written as.
        RefusedError: the file is one that the plan was made from, or no plan.
        PublishError: the file can't be written.
        SettingsError: there is no such key, or others may read it.
    """
    check_apart([plan_path(path)], plan.read)
    catalog = str(request.catalog) if isinstance(request.catalog, str | Path) else "-"
    if plan.version is not None and catalog != "-":
        catalog = plan.version.source  # a lake table may move on, and is read as it was
    if catalog == "-":
        raise CatalogError(
            "A plan file needs a catalog that can be read again.",
            fix="Write the catalog to a file first, and plan that.",
        )
    if isinstance(request.mapping, Mapping):
        raise MappingError(
            "A plan file needs the mapping as it is written.",
            fix="Pass the mapping's path, its YAML or its dict instead of a Mapping.",
        )
    _refuse_credentials(catalog)
    mapping = mapping_content(request.mapping) if request.mapping is not None else None
    content: dict[str, Any] = {
        "format": _FORMAT,
        "made_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "digest": plan.figures.digest,
        "requests": plan.requests_sha256(),
        "project_id": plan.options.project_id,
        "base_url": settings.base_url,
        "calls": plan.figures.calls,
        "actions": {action.value: n for action, n in plan.figures.rows_by_action().items()},
        "catalog": catalog if "://" in catalog else str(Path(catalog).absolute()),
        "mapping": mapping,
        "unique_key": list(request.unique_key),
        "rekeyed": request.rekeyed.value,
        "accept": list(request.accept),
        "partition": dataclasses.asdict(request.partition) if request.partition else None,
        **{name: getattr(request, name) for name in _REQUEST},
    }
    _write(content, path, sign)


def sign_plan(saved: SavedPlan, key: str | Path, path: str | Path) -> None:
    """Write a plan file that was looked at with a signature, instead of one that it had.

    Raises:
        SettingsError: there is no such key, or others may read it.
        PublishError: the file can't be written.
        RefusedError: there is another kind of file.
    """
    check_apart([plan_path(path)], ())
    _write(saved.content, path, key)


def _write(content: Dict[str, Any], path: str | Path, sign: str | Path | None) -> None:
    covered = _covered(content)
    outside: dict[str, Any] = {"sha256": hashlib.sha256(covered).hexdigest()}
    if sign is not None:
        outside["signature"] = signed(covered, sign)
    inside = {name: value for name, value in content.items() if name not in _OUTSIDE}
    text = json.dumps(inside | outside, indent=2) + "\n"
    write_file(Path(path), text, private=True, what="plan file")


def _covered(content: Dict[str, Any]) -> bytes:
    """Return all of a plan file but what covers it, as bytes that are the same for equal values."""
    inside = {name: value for name, value in content.items() if name not in _OUTSIDE}
    return json.dumps(inside, sort_keys=True, separators=(",", ":")).encode()


def _no_plan(path: str | Path, why: object) -> CatalogError:
    return CatalogError(
        f"{path} is not a plan file ({why}).", fix="Make one with `incarts plan --out`."
    )


def _refuse_credentials(catalog: str) -> None:
    if has_credentials(catalog) or holds_secret(catalog):
        raise CatalogError(
            f"The catalog {catalog} has credentials in its URI, and plan files get passed on.",
            fix="Leave them out, and let the store's own variables or a role give them.",
        )


def plan_path(path: str | Path) -> NamedPath:
    """Return the place of a plan file."""
    return NamedPath(what="plan file", path=str(path), begins=b'{\n  "format": "incarts plan')


@raising_ours
def load_plan(path: str | Path) -> SavedPlan:
    """Read a plan file.

    Raises:
        CatalogError: it is not one, or holds credentials.
        RefusedError: it was edited, or its signature is of another plan.
        MissingExtraError: it is signed, and the package that checks signatures isn't installed.
    """
    try:
        content = json.loads(read_small(Path(path), _MOST_BYTES), object_pairs_hook=_each_once)
        if content.get("format") in _EARLIER:
            raise ValueError("an earlier version wrote it, and its digest covers less than today's")
        if content.get("format") != _FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}, not {_FORMAT!r}")
        if not isinstance(content["mapping"], dict | None):
            # A path would be read, and told of in an error, wherever it leads.
            raise ValueError("its mapping is no object")
        if not isinstance(content["catalog"], str):
            raise ValueError("its catalog is no path")
        request = PlanRequest(
            catalog=content["catalog"],
            mapping=content["mapping"],
            unique_key=tuple(content["unique_key"]),
            rekeyed=Rekeyed(content["rekeyed"]),
            accept=tuple(content["accept"]),
            partition=Partition(**content["partition"]) if content.get("partition") else None,
            # Options that came later are missing in earlier files, and weren't said there.
            **{name: content[name] for name in _REQUEST if name in content},
        )
        facts = {name: content[name] for name in _FACTS}
        sha256 = content["sha256"]
    except RecursionError:
        raise _no_plan(path, "it is nested too deeply") from None
    except OSError as error:
        raise CatalogError(
            f"The plan file {path} can't be read ({reason_of(error)}).",
            fix="Check the path, or make one with `incarts plan --out`.",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_plan(path, error) from error
    _refuse_credentials(content["catalog"])
    covered = _covered(content)
    if hashlib.sha256(covered).hexdigest() != sha256:
        raise _edited(path, "its sha256 is another")
    signer = None
    if "signature" in content:
        signer = signer_of(covered, content["signature"])
        if signer is None:
            raise _edited(path, "its signature is none of this plan")
    return SavedPlan(
        request=request, file=plan_path(path), content=content, signed_by=signer, **facts
    )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says a key twice: who reads the file may see the other value."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has the key {key!r} twice in one object")
        found[key] = value
    return found


def _edited(path: str | Path, why: str) -> RefusedError:
    return RefusedError(
        f"The plan file {path} was edited: it has moved from what was planned ({why}).",
        fix="Plan again with `incarts plan --out`, and let it be signed again if it was.",
        guard="plan_edited",
    )
