"""A relay between two networks: passes connections on to the same port of another address.

    python tests/support/relay.py LISTENS_ON PASSES_TO PORT…

prints a line once it listens, and goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


async def _connected(
    from_near: asyncio.StreamReader, to_near: asyncio.StreamWriter, *, address: str, port: int
) -> None:
    try:
        from_far, to_far = await asyncio.open_connection(address, port)
    except OSError:  # whoever asked is told in the same way
        to_near.close()
        return
    await asyncio.gather(_pass_on(from_near, to_far), _pass_on(from_far, to_near))


async def _main(listens_on: str, passes_to: str, ports: list[int]) -> None:
    for port in ports:
        each = partial(_connected, address=passes_to, port=port)
        await asyncio.start_server(each, listens_on, port)
    print("listens", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]]))
