"""Form of a file: how it has to be read, told by trying, and by what its reader advises."""

from __future__ import annotations

from collections.abc import Callable, Mapping as Dict

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError, UndecidedError
from incarts_pipeline.mapping import Preset
from incarts_pipeline.suggest.findings import Finding
from incarts_pipeline.suggest.suggestion import Suggestion, suggestion_for
from incarts_pipeline.text import options_in

_TRIES = 5
# What is followed without asking; of the rest a person has to say what the file means.
_FOLLOWED = ("delimiter", "encoding", "escape")
_SURE = ("delimiter",)


def suggestion_of(
    source: object,
    reading: Dict[str, str | None],
    preset: Preset | None = None,
    *,
    choose: Callable[[UndecidedError], str] | None = None,
) -> Suggestion:
    """Look at a table, however it is to be read, and return the mapping that fits it.

    Where a reader refuses a file and knows how it is meant, that is tried, and said in the mapping
    as `read`.

    Args:
        source: whatever `open_catalog` takes.
        reading: how it is to be read, as far as it was said; goes into the mapping as well.
        preset: the platform that wrote it; by default told from the header.
        choose: asks a person which of several tables of a file is meant.

    Raises:
        CatalogError: it can't be read in any way that its reader knows of.
    """
    said = {name: value for name, value in reading.items() if value is not None}
    found = {name: _said(name, value) for name, value in said.items()}
    for _ in range(_TRIES):
        try:
            catalog = open_catalog(source, **said)  # type: ignore[arg-type]
            chosen = [_chosen(name, value) for name, value in catalog.chosen.items()]
            made = suggestion_for(catalog, preset, (*found.values(), *chosen))
        except UndecidedError as error:
            if choose is None:
                raise
            said[error.option] = choose(error)
            found[error.option] = _said(error.option, said[error.option])
        except CatalogError as error:
            advice = advice_of(error, said, has_tabs=_has_tabs(source, said))
            if advice is None:
                raise
            name, value = advice
            said[name] = value
            found[name] = _followed(name, value, error)
        else:
            return made
    raise CatalogError(f"How {source} is to be read can't be told.", fix="Say it with options.")


def advice_of(
    error: CatalogError, said: Dict[str, str], *, has_tabs: bool
) -> tuple[str, str] | None:
    """Return the option that a reader advises, with its value; None where a person must decide.

    Args:
        error: what the reader refused the file with.
        said: options that are tried already.
        has_tabs: whether tabs are between the cells.
    """
    for option in options_in(error.fix or ""):
        # Quotes that are text are common in files with tabs, and nearly unknown in others.
        of_tabs = option.name == "quote" and has_tabs
        if option.name in said or not (option.name in _FOLLOWED or of_tabs):
            continue
        if isinstance(option.value, str):
            return option.name, option.value
    return None


def _has_tabs(source: object, said: Dict[str, str]) -> bool:
    return said.get("delimiter", "\t" if ".tsv" in str(source)[-8:].lower() else "") == "\t"


def _said(name: str, value: str) -> Finding:
    return Finding(field=f"read.{name}", value=value, why="Said by you.")


def _chosen(name: str, value: str) -> Finding:
    why = "The only place in the file that products can be."
    return Finding(field=f"read.{name}", value=value, why=why)


def _followed(name: str, value: str, error: CatalogError) -> Finding:
    doubt = None if name in _SURE else "see that names with accents or quotes are right."
    why = f"How the file is read: {error.message}"
    return Finding(field=f"read.{name}", value=value, why=why, doubt=doubt)
