"""Errors of a broken mapping in words: where, what, and which name was meant."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from incarts_pipeline.errors import MappingError
from incarts_pipeline.text import LINE_BREAK, joined, suggest


def explain(error: ValidationError, root: type[BaseModel]) -> MappingError:
    """Turn pydantic's findings into one error; its `path` is that of the first finding."""
    found = [(_path(item["loc"]), _sentence(item, root)) for item in error.errors()]
    return MappingError(
        joined(LINE_BREAK, [f"{path}: {said}" if path else said for path, said in found]),
        path=found[0][0] or None,
    )


def _path(place: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in place)


def _sentence(item: Any, root: type[BaseModel]) -> str:
    names = _names_at(root, item["loc"][:-1])
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        return f'There is no field "{name}".{suggest(name, names)} Known are {", ".join(names)}.'
    if item["type"] == "missing":
        return "is required, but isn't there."
    # Ours already, from a validator above.
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    return f"{item['msg']}, but it is {item['input']!r}."


def _names_at(root: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    kind: Any = root
    for part in place:
        model = _model_of(kind)
        # The key of `links` is the entry's name, which is no field of a model.
        if typing.get_origin(kind) is dict or model is None:
            kind = model
        else:
            field = model.model_fields.get(str(part))
            kind = None if field is None else _without_none(field.annotation)
    model = _model_of(kind)
    return [] if model is None else list(model.model_fields)


def _without_none(annotation: Any) -> Any:
    # Every optional field is `X | None`.
    kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    return kinds[0] if typing.get_origin(annotation) is not dict and kinds else annotation


def _model_of(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    inner = [_model_of(part) for part in typing.get_args(kind)]
    return next((model for model in inner if model is not None), None)
