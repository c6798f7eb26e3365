"""XML feeds: RSS, Atom, Google Merchant and other lists of elements, each element's text a column.

An element's namespace is no part of its column's name: `g:id` is `id`. What is inside of an element
is `shipping.country`, an attribute `price.@currency`. Elements that repeat in one record are joined
by commas, as Google's own text feeds have them; a comma inside of a URL is then `%2C`. Outer white
space is no part of a text. Entities are not resolved, and nothing is loaded from elsewhere.

Exports are made by joining texts: an & that begins no reference is read as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from incarts_pipeline.catalog.extras import package
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.source_file import FileRows, RecordStream, SourceFile
from incarts_pipeline.catalog.width import check_width
from incarts_pipeline.catalog.xml_text import Ampersands
from incarts_pipeline.errors import CatalogError, UndecidedError
from incarts_pipeline.text import Option, OptionText, counted, suggest

_GOOGLE = "http://base.google.com/ns/1.0"
# The element that holds a record, by the document's outermost one.
_KNOWN = {"rss": "rss.channel.item", "RDF": "RDF.item", "feed": "feed.entry"}
_BATCH = 8_192  # rows; they are Python objects first
_VALUES = 1_000_000  # of a batch
_SPACE = " \t\r\n"

_Fields = dict[str, list[str]]


def feed_rows(name: str, files: list[SourceFile], options: ReadOptions) -> FileRows:
    """Open XML files; all of them are read once, for the columns, which are text.

    Args:
        name: the catalog, for messages.
        files: of one kind; their elements may differ.
        options: `records`, the dotted path of the element that is a record, or its end, where it
            isn't an item of RSS or an entry of Atom; an encoding other than the declared one.

    Raises:
        CatalogError: one isn't XML, or has no such elements.
        UndecidedError: which element is a record can't be told.
        MissingExtraError: lxml isn't installed.
    """
    encoding = None if options.encoding == "utf-8" else options.encoding
    most = options.max_columns
    feeds = {file.name: _Feed(file, options.records, encoding, most) for file in files}
    names: dict[str, None] = {}
    for feed in feeds.values():
        for record in feed.records([]):
            names.update(dict.fromkeys(record))
            check_width(name, len(names), most)
    if not names:
        raise CatalogError(f"{name} is empty.", fix="It needs at least one record.")
    schema = pa.schema([(one, pa.string()) for one in names])

    def rows_of(file: SourceFile, _: int, warnings: list[str]) -> Iterator[pa.RecordBatch]:
        records = feeds[file.name].records(warnings)
        at_once = max(1, min(_BATCH, _VALUES // len(names)))
        while rows := list(islice(records, at_once)):
            columns = [pa.array([row.get(one) for row in rows], pa.string()) for one in names]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    paths = {feed.path for feed in feeds.values()}
    return FileRows(
        schema=schema, rows_of=rows_of, chosen={"records": paths.pop()} if len(paths) == 1 else {}
    )


class _Feed:
    """One file and the path of the element that is a record."""

    def __init__(
        self, file: SourceFile, wanted: str | None, encoding: str | None, most_columns: int
    ) -> None:
        self._file = file
        self._most_columns = most_columns
        self._encoding = encoding
        self.escaped = 0  # of &, once the file was read to its end
        self.path = _record_path(self, wanted)

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self._file.name

    def elements(self, tag: str | None = None) -> Iterator[tuple[Any, RecordStream]]:
        """Yield each element with such a local name as it ends, and what it was read from."""
        etree = package("lxml.etree", "feeds", "XML files")
        with self._file.open() as raw:
            stream = RecordStream(raw, self.name, strip=True)
            text = Ampersands(stream)
            events = etree.iterparse(
                text,
                events=("end",),
                tag=f"{{*}}{tag}" if tag else None,
                encoding=self._encoding,
                resolve_entities=False,
                no_network=True,
                load_dtd=False,
                huge_tree=False,
                remove_comments=True,
                remove_pis=True,
            )
            try:
                for n, (_, element) in enumerate(events):
                    if n == 0:
                        _check_document(element, self.name)
                    yield element, stream
            except etree.XMLSyntaxError as error:
                raise _not_xml(self.name, error, events.error_log) from error
            self.escaped = text.escaped

    def records(self, warnings: list[str]) -> Iterator[dict[str, str]]:
        """Yield the texts of each record, by column."""
        twice: Counter[str] = Counter()
        for element, stream in self.elements(self.path.rpartition(".")[2]):
            if not _ends_with(_path_of(element), self.path):
                continue
            _check_references(element, self.name)
            # Before they are looked at: lxml takes the longer for each, the more there are.
            for one in element.iter():
                check_width(
                    f"{self.name}, line {one.sourceline},", len(one.attrib), self._most_columns
                )
            own: _Fields = {}
            google: _Fields = {}
            _collect(element, "", own, google)
            twice.update(one for one in google if own.get(one, google[one]) != google[one])
            yield {one: _joined(texts) for one, texts in {**own, **google}.items()}
            _forget(element)
            stream.record_ended()
        if self.escaped:
            warnings.append(f"{self.name}: {self.escaped:,} times & was read as &amp;.")
        for one, n in twice.items():
            warnings.append(
                f"{self.name}: {counted(n, 'record')} with another {one} in g:{one}, which was "
                "taken."
            )


def _record_path(feed: _Feed, wanted: str | None) -> str:
    # Without records that were said, the outermost element tells what the document is.
    first = next(feed.elements(), None)
    if first is None:
        raise CatalogError(f"{feed.name} is empty.", fix="It needs at least one record.")
    root = _local(first[0].getroottree().getroot().tag)
    if wanted is None and root in _KNOWN:
        return _KNOWN[root]
    found = _repeated(feed, wanted)
    if len(found) == 1:
        return next(iter(found))
    raise _undecided(feed, wanted)


def _repeated(feed: _Feed, wanted: str | None = None) -> dict[str, int]:
    """Return the paths of elements that may be records, with their numbers.

    These are the ones that were said. Else they are those that have elements inside and are there
    more than once; or once, where nothing is there more often and they hold no such element. What
    is inside of a record is none.
    """
    counts: Counter[str] = Counter()
    outer = set()
    for element, stream in feed.elements():
        path = _path_of(element)
        if wanted is not None:
            counts[path] += _ends_with(path, wanted)
        elif len(element):
            counts[path] += 1
            outer.add(path.rpartition(".")[0])
        if len(element):
            _forget(element)
            stream.record_ended()
    many = {path: n for path, n in counts.items() if n > 1}
    if wanted is not None or not many:
        return {path: n for path, n in counts.items() if n and path not in outer}
    return {
        path: n
        for path, n in many.items()
        if not any(path.startswith(f"{other}.") for other in many)
    }


def _undecided(feed: _Feed, wanted: str | None) -> CatalogError:
    found = _repeated(feed)
    if not found:
        return CatalogError(
            f"{feed.name} has no elements that could be records.",
            fix="Check that it is a list of products.",
        )
    shown = ", ".join(f"{path} ({n:,})" for path, n in found.items())
    said = f"no one element {wanted!r}" if wanted else "several elements that may be records"
    near = suggest(wanted, found) if wanted else ""
    return UndecidedError(
        f"{feed.name} has {said}: there are {shown}.{near}",
        fix=OptionText(
            "Say which one is a product, with ",
            Option(name="records", value=next(iter(found)), of_reading=True),
            ".",
        ),
        option="records",
        choices=tuple(found),
    )


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _path_of(element: Any) -> str:
    outer = [_local(one.tag) for one in element.iterancestors()]
    return ".".join([*reversed(outer), _local(element.tag)])


def _ends_with(path: str, wanted: str) -> bool:
    return path == wanted or path.endswith(f".{wanted}")


def _forget(element: Any) -> None:
    """Free an element, and what is before it in its parent: the parser keeps all it has read."""
    element.clear(keep_tail=True)
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def _collect(element: Any, prefix: str, own: _Fields, google: _Fields) -> None:
    """Put the texts of an element's attributes and of the elements inside by their columns."""
    for attribute, value in element.attrib.items():
        own.setdefault(f"{prefix}@{_local(attribute)}", []).append(value)
    for child in element:
        name = prefix + _local(child.tag)
        if len(child) and not _is_mixed(child):
            _collect(child, f"{name}.", own, google)
            continue
        if text := "".join(child.itertext()).strip(_SPACE):
            into = google if child.tag.startswith(f"{{{_GOOGLE}}}") else own
            into.setdefault(name, []).append(text)
        elif child.get("href") and child.get("rel", "alternate") == "alternate":  # of Atom
            own.setdefault(name, []).append(child.get("href"))
        for attribute, value in child.attrib.items():
            own.setdefault(f"{name}.@{_local(attribute)}", []).append(value)


def _check_references(element: Any, name: str) -> None:
    """Refuse what isn't an element: comments are gone, so these are references like `&nbsp;`."""
    for one in element.iter():
        if not isinstance(one.tag, str):
            raise CatalogError(
                f"{name} has {one.text} in line {one.sourceline}, which XML doesn't know.",
                fix="Write the character itself, or put the text into a CDATA section.",
            )


def _is_mixed(element: Any) -> bool:
    """Say whether there is text between the elements inside, as in a page's paragraph."""
    between = [element.text, *(child.tail for child in element)]
    return any(text and text.strip(_SPACE) for text in between)


def _joined(texts: list[str]) -> str:
    if len(texts) == 1:
        return texts[0]
    return ",".join(
        text.replace(",", "%2C") if text.startswith(("http://", "https://")) else text
        for text in texts
    )


def _check_document(element: Any, name: str) -> None:
    document = element.getroottree()
    if _local(document.getroot().tag).lower() == "html":
        raise CatalogError(
            f"{name} is a web page, not a feed.", fix="Look at it; most likely it says why."
        )
    declared = document.docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):
        raise CatalogError(
            f"{name} declares entities of its own, which are not read.",
            fix="Write their text where they stand.",
        )


def _not_xml(name: str, error: Any, log: Any) -> CatalogError:
    # The first entry is the cause; the error itself may only tell what came of it.
    first = next(iter(log), None)
    where = "" if first is None else f" in line {first.line}"
    reason = str(error) if first is None else first.message
    return CatalogError(
        f"{name} is no whole XML document{where}: {reason.strip().rstrip('.')}.",
        fix="Check that it is whole, and that its texts are escaped or in CDATA sections.",
    )
