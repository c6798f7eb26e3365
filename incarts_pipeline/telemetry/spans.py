"""Spans of a run and of its stages; their attributes show no secret, and one line each."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

from incarts_pipeline.outgoing import shown
from incarts_pipeline.telemetry.switch import tracer

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def span(name: str, **attributes: object) -> Iterator[None]:
    """Have what is done in the block stand in a span; nothing where nobody wants spans.

    Args:
        name: like `incarts.write`.
        attributes: numbers stay numbers, all else becomes a text that is safe to show.
    """
    made = tracer()
    if made is None:
        yield
        return
    from opentelemetry.trace import Status, StatusCode

    # The SDK would write an error down as its text and its traceback stand.
    own = {"record_exception": False, "set_status_on_exception": False}
    with made.start_as_current_span(name, attributes=cleaned(attributes), **own) as current:
        try:
            yield
        except BaseException as error:
            current.set_status(Status(StatusCode.ERROR, shown(error)))
            current.set_attribute("error.type", type(error).__name__)
            raise


def note(**attributes: object) -> None:
    """Set attributes of the span that is open now."""
    if tracer() is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes(cleaned(attributes))


def traced(name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Have each call of a function, or coroutine function, stand in a span of that name."""

    def around(function: Callable[P, T]) -> Callable[P, T]:
        if not inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> T:
                with span(name):
                    return function(*args, **kwargs)

            return call

        @functools.wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            with span(name):
                return await function(*args, **kwargs)

        return cast("Callable[P, T]", awaited)

    return around


def cleaned(attributes: dict[str, object]) -> dict[str, Any]:
    """Return attributes as they may leave: under `incarts.`, without None, texts made safe."""
    return {
        f"incarts.{name}": value if isinstance(value, bool | int | float) else shown(value)
        for name, value in attributes.items()
        if value is not None
    }
