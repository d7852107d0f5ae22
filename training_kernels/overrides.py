"""Changing a recipe by hand: `optimizer.learning_rate=1e-4`, with the types that the recipe has."""

import ast
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

from training_kernels.errors import ConfigError

T = TypeVar("T")


def with_overrides(config: T, overrides: Sequence[str]) -> T:
    """The config with each `path.to.field=value` put in.

    Raises ConfigError for a path that is none, a value of another type, and a config that becomes impossible.
    """
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set takes path.to.field=value, got {override!r}")
        config = _put(config, path.strip().split("."), text.strip(), path.strip())
    return config


def _put(config: Any, names: Sequence[str], text: str, path: str) -> Any:
    name, *inner = names
    known = [field.name for field in fields(config)]
    if name not in known:
        raise ConfigError(f"{path}: {type(config).__name__} has no field {name!r}; it has {', '.join(known)}")
    if inner:
        section = getattr(config, name)
        if not is_dataclass(section):
            raise ConfigError(f"{path}: {name!r} is a value, not a section; set it as it is: {name}=…")
        return replace(config, **{name: _put(section, inner, text, path)})
    wanted = typing.get_type_hints(type(config))[name]
    sections = [one for one in (typing.get_args(wanted) or (wanted,)) if is_dataclass(one)]
    if len(sections) > 1:
        return replace(config, **{name: _section(text, sections, path)})
    if sections:
        inside = ", ".join(f"{path}.{field.name}" for field in fields(getattr(config, name))) or "nothing to set"
        raise ConfigError(f"{path} is a section of the recipe, set what is in it: {inside}")
    return replace(config, **{name: _value(text, wanted, path)})


def _section(text: str, classes: Sequence[Any], path: str) -> Any:
    """A section of which there are kinds, written as it is in Python: LoraTuning(rank=8, …)."""
    by_name = {one.__name__: one for one in classes}
    said = ", or ".join(
        f"{name}({', '.join(f'{one.name}=…' for one in fields(kind))})" for name, kind in by_name.items()
    )
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError:
        call = None
    if (
        not isinstance(call, ast.Call)
        or not isinstance(call.func, ast.Name)
        or call.func.id not in by_name
        or call.args
    ):
        raise ConfigError(f"{path} takes {said}, got {text!r}")
    kind = by_name[call.func.id]
    hints = typing.get_type_hints(kind)
    given = {one.arg: ast.unparse(one.value) for one in call.keywords if one.arg in hints}
    needed = {one.name for one in fields(kind) if one.default is MISSING}
    if not needed <= given.keys() or len(given) != len(call.keywords):
        raise ConfigError(f"{path} takes {said}, each field once, got {text!r}")
    return kind(**{name: _value(value, hints[name], f"{path}.{name}") for name, value in given.items()})


def _value(text: str, wanted: Any, path: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text  # a bare word
    if wanted is str and not isinstance(value, str):
        value = text
    if wanted is bool and text in ("true", "false"):
        value = text == "true"
    fitted = _fitted(value, wanted)
    if fitted is _MISFIT:
        raise ConfigError(f"{path} takes {_said(wanted)}, got {text!r}")
    return fitted


_MISFIT = object()


def _fitted(value: Any, wanted: Any) -> Any:
    """The value as the wanted type, or _MISFIT."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        return value if value in inner else _MISFIT
    if origin in (typing.Union, types.UnionType):
        return next((got for one in inner if (got := _fitted(value, one)) is not _MISFIT), _MISFIT)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return _MISFIT
        members = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
        got = [_fitted(one, member) for one, member in zip(value, members, strict=False)]
        return _MISFIT if len(value) != len(members) or any(one is _MISFIT for one in got) else tuple(got)
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is wanted else _MISFIT


def _said(wanted: Any) -> str:
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return f"a tuple ({', '.join('…' if one is ... else _said(one) for one in inner)})"
    said = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return said.get(wanted, str(wanted))
