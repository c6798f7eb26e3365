"""Canaries: secrets that are planted in every spelling, and looked for in all that was written.

What looks for them shares nothing with what hides them.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow.parquet as pq

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "upper": str.upper,
    "percent": lambda s: "".join(f"%{ord(c):02X}" for c in s),
    "percent, odd ones": lambda s: quote(s, safe=""),
    "percent twice": lambda s: quote("".join(f"%{ord(c):02x}" for c in s)),
    "json": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "json, odd ones": lambda s: s.replace("/", "\\/").replace("+", "\\u002B"),
    "entities": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "entities, hexadecimal": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "entities, named": lambda s: s.replace("_", "&lowbar;").replace("+", "&plus;"),
    "entities twice": lambda s: "".join(f"&amp;#{ord(c)};" for c in s),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 of a pair": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(f"?{s}".encode()).decode(),
    "hexadecimal": lambda s: s.encode().hex(),
    "invisible between": "\u200b".join,
    "markdown": lambda s: s.replace("_", "\\_"),
}


def spelled(secret: str) -> list[tuple[str, str]]:
    """Return a secret in every spelling, with the spelling's name."""
    return [(name, spell(secret)) for name, spell in SPELLINGS.items()]


def found_in(text: str, secret: str) -> bool:
    """Say whether a text says a secret, or most of it, once all is decoded that can be."""
    core = secret[8:22].lower()
    for _ in range(6):
        if any(core in part.lower() for part in (text, *_unpacked(text))):
            return True
        plain = _decoded(text)
        if plain == text:
            return False
        text = plain
    return False


def _decoded(text: str) -> str:
    text = re.sub(r"\\+u00([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), text)
    text = re.sub(r"\\+([/_])", r"\1", text)
    return re.sub("[\0\u200b\u00ad\ufeff]", "", html.unescape(unquote(text, errors="replace")))


def _unpacked(text: str) -> Iterator[str]:
    for token in re.findall(r"[A-Za-z0-9+/_-]{16,}", text):
        with suppress(ValueError):
            yield bytes.fromhex(token).decode("latin-1")
        code = token.replace("-", "+").replace("_", "/")
        for skipped in range(4):
            part = code[skipped:]
            with suppress(binascii.Error):
                yield base64.b64decode(part[: len(part) // 4 * 4]).decode("latin-1")


def leaks_below(folder: Path, secret: str, known: set[str]) -> list[str]:
    """Return the files below a folder that say a secret; `known` are the ones it was put into."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in known:
            found += [f"{name}: {what}" for what, text in _texts(path) if found_in(text, secret)]
        if found_in(name, secret):
            found.append(f"the name {name}")
    return found


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    raw = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
        yield "metadata", str(table.schema.metadata)
        for name in table.schema.names:
            for value in table[name].to_pylist():
                yield name, f"{name} {json.dumps(value, default=str, ensure_ascii=False)}"
    elif raw.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    for value in row:
                        told = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                        yield table, told
    else:
        yield from (("bytes", line) for line in raw.decode("latin-1").split("\n"))
        yield from (("text", line) for line in raw.decode("utf-8", "replace").split("\n"))


Answering = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], bytes]]


@contextmanager
def server(answering: Answering) -> Iterator[str]:
    """Run a server that says what it likes; yields its base URL.

    `answering` is given the request's number and body, and returns status, headers and body.
    """
    counting = threading.Lock()
    seen = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with counting:
                number = seen[0]
                seen[0] += 1
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, body = answering(number, json.loads(content))
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()
