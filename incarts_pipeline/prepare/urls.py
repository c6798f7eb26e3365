"""URLs: whether they are one, lead somewhere that everybody can open, and are filled in.

Source of the form: RFC 3986. Most columns are one host's: what is before the paths is looked at
once, and the rest for bytes that no plain URL has; expressions are for the rows that have some.
"""

from __future__ import annotations

import re
import string

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import Limits, ProblemCode, Reason
from incarts_pipeline.prepare.hosts import judge
from incarts_pipeline.prepare.json_columns import data_of, offsets_of
from incarts_pipeline.prepare.problems import Findings, Rows, true_rows

_ORIGIN = r"^(?i:(?P<scheme>https?))://(?P<authority>[^/?#\\\p{Z}\p{Cc}]+)"
_FIRST_ORIGIN = re.compile(r"(https?)://([^/?#\\\s\x00-\x1f\x7f]+)", re.IGNORECASE)
_TRIED = 8  # origins that are looked for by themselves
_USER = r"(?i)^(https?://)[^/?#]*@"
_FORM = "it must begin with http:// or https://, name a host, and have no spaces"
_HTML = r"&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]+|#x[0-9a-fA-F]+);"
_WORDS = r"undefined|Undefined|null|NULL|None|NaN|nan|#N/A|%23N%2FA|N/A|N%2FA"
# {handle}, {{handle}}, ${handle}, %7Bhandle%7D, <handle>, [HANDLE], :handle, %s, and what programs
# print for a value that isn't there.
_PLACEHOLDER = (
    r"[{}<>]|(?i:%7b)[A-Za-z_][\w. -]*(?i:%7d)|(?i:%3c)[A-Za-z_][\w. -]*(?i:%3e)"
    r"|[/=]\[[A-Za-z_][\w -]*\](?:[/?&#]|$)|/:[a-z_]+(?:[/?#]|$)|[/=]%[sd](?:[/?&#]|$)|%%\w+%%"
    rf"|[/=](?:{_WORDS})(?:[/?&#]|$)"
)
# Deleted from all texts at once, which is the fastest look at what else they have.
_PLAIN_BYTES = (string.ascii_letters + string.digits + "-._~:/?$'()*+,;=!").encode()
_SIGN_BYTES = frozenset(b"#@&%")  # which a URL may have, and expressions have to look at
_ESCAPES = (b"%7B", b"%7b", b"%3C", b"%3c")
# How a placeholder, or a word for nothing, begins behind a slash or an equals sign.
_BEGINNINGS = np.zeros(256, np.bool_)
_BEGINNINGS[list(b"uUnN#%:")] = True


def check_url(urls: pa.StringArray, field: str, findings: Findings, limits: Limits) -> None:
    """Check that URLs are http(s), can be opened by everybody, are filled in, and aren't too long.

    Args:
        urls: a URL per row, null for none.
        field: the path of the field.
        findings: takes the problems and suspicions.
        limits: the most characters.
    """
    # What is refused for one reason is no URL that more could be said about.
    urls = _left(urls, findings.mask(field))
    seen = frozenset(data_of(urls).tobytes().translate(None, _PLAIN_BYTES))
    # Whoever reads a table of problems needn't read a password.
    shown = pc.replace_substring_regex(urls, _USER, r"\1…@") if ord("@") in seen else urls
    is_odd = not seen <= _SIGN_BYTES
    if is_odd:
        urls = _check_characters(urls, shown, field, findings)
    urls = _check_origins(urls, shown, field, findings)
    if is_odd or _may_be_unfilled(urls, seen):
        _check_filling(urls, shown, field, findings)
    if (np.diff(offsets_of(urls)) <= limits.max_url_characters).all():
        return
    lengths = pc.utf8_length(urls)
    findings.add(
        pc.greater(lengths, limits.max_url_characters),
        field,
        ProblemCode.TOO_LONG,
        f"At most {limits.max_url_characters} characters, but the URL has ",
        lengths,
        "; shorten it.",
    )


def _left(urls: pa.StringArray, without: npt.NDArray[np.bool_]) -> pa.StringArray:
    if not without.any():
        return urls
    return pc.if_else(pa.array(without), pa.scalar(None, pa.string()), urls)


def _check_characters(
    urls: pa.StringArray, shown: pa.StringArray, field: str, findings: Findings
) -> pa.StringArray:
    """Check that URLs have no spaces and backslashes; return those that have none."""
    spaces = pc.match_substring_regex(urls, r"[\p{Z}\p{Cc}]")
    findings.add(spaces, field, ProblemCode.NOT_A_URL, '"', shown, f'" is not a URL: {_FORM}.')
    back = pc.and_not(pc.match_substring(urls, "\\"), spaces)
    says = '" is not a URL: it has a backslash; write / or, if it is meant, %5C.'
    findings.add(back, field, ProblemCode.NOT_A_URL, '"', shown, says)
    return _left(urls, findings.mask(field))


def _check_origins(
    urls: pa.StringArray, shown: pa.StringArray, field: str, findings: Findings
) -> pa.StringArray:
    """Check that URLs begin with a scheme and a host; return those that do."""
    origins, places = _origins(urls)
    judged: dict[tuple[str, str, str], dict[int, str]] = {}
    for at, origin in enumerate(origins):
        for one in judge(*origin):
            judged.setdefault((one.code, one.says, one.then), {})[at] = one.host
    # All hosts of one judgement at once, since a column may have as many as rows; in an order that
    # doesn't depend on what else is in the batch.
    for (code, says, then), hosts in sorted(judged.items()):
        named = pa.array([hosts.get(at) for at in range(len(origins))], pa.string())
        told = named.take(pa.array(places, mask=places < 0))
        findings.add(told.is_valid(), field, code, '"', shown, f'" {says}', told, then)
    without = urls.is_valid().to_numpy(zero_copy_only=False) & (places < 0)
    form = f'" is not a URL: {_FORM}.'
    findings.add(pa.array(without), field, ProblemCode.NOT_A_URL, '"', shown, form)
    return _left(urls, findings.mask(field))


def _origins(urls: pa.StringArray) -> tuple[list[tuple[str, str]], Rows]:
    """Return the distinct schemes with their authorities, and which one each row has, or -1."""
    found: list[tuple[str, str]] = []
    places = np.full(len(urls), -1, np.int64)
    left = true_rows(urls.is_valid())
    for _ in range(_TRIED):
        if not len(left):
            return found, places
        texts = urls.take(pa.array(left))
        first = _FIRST_ORIGIN.match(texts[0].as_py())
        # Up to the slash, without which another host could begin alike.
        same = pc.starts_with(texts, first[0] + "/") if first else pc.is_null(texts)
        same = same.to_numpy(zero_copy_only=False).copy()
        same[0] = True
        if first:
            places[left[same]] = len(found)
            found.append((first[1], first[2]))
        left = left[~same]
        # Where each has few rows, expressions are faster.
        if same.sum() * _TRIED < len(same):
            break
    parts = pc.extract_regex(urls.take(pa.array(left)), pattern=_ORIGIN)
    names = [pc.struct_field(parts, name) for name in ("scheme", "authority")]
    encoded = pc.binary_join_element_wise(*names, " ").dictionary_encode()
    indices = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    places[left] = np.where(indices < 0, -1, indices + len(found))
    split = (origin.partition(" ") for origin in encoded.dictionary.to_pylist())
    return [*found, *((scheme, authority) for scheme, _, authority in split)], places


def _may_be_unfilled(urls: pa.StringArray, seen: frozenset[int]) -> bool:
    """Return whether the bytes have what the expressions of `_check_filling` look for."""
    data = data_of(urls)
    marks = (data[:-1] == ord("/")) | (data[:-1] == ord("="))
    if _BEGINNINGS[data[1:][marks]].any():
        return True
    raw = data.tobytes()
    if ord("&") in seen and b";" in raw:
        return True
    return ord("%") in seen and any(sign in raw for sign in _ESCAPES)


def _check_filling(
    urls: pa.StringArray, shown: pa.StringArray, field: str, findings: Findings
) -> None:
    """Check that nothing in URLs was to be filled in, or is written as in HTML."""
    findings.add(
        pc.match_substring_regex(urls, _HTML),
        field,
        ProblemCode.HTML_IN_URL,
        '"',
        shown,
        '" is written as in HTML; write & for &amp;, and other characters as themselves.',
    )
    findings.add(
        pc.match_substring_regex(urls, _PLACEHOLDER),
        field,
        Reason.PLACEHOLDER_IN_URL,
        '"',
        shown,
        '" seems not to be filled in; write what belongs there, or accept placeholder_in_url if it '
        "is meant.",
    )
