"""Settings of methods: ``METHOD.field=value`` checked against the method's Config, and configs as plain JSON."""

from __future__ import annotations

import dataclasses
import enum
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from gsbench.errors import PluginError, UsageError
from gsbench.methods.api import CONFIG_STAGE_KEY
from gsbench.registry import did_you_mean

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_NONE: Final = frozenset({"none", "null"})


class _MismatchError(Exception):
    """A value does not fit an annotation; the message says what was expected."""


class _UnknownFieldError(UsageError):
    """There is no field of this name."""


def split_setting(text: str, methods: Iterable[str]) -> tuple[str, str, str]:
    """``METHOD.field=value`` as (method, field, value). Names of methods may hold dots themselves.

    Raises:
        UsageError: if the text is not of this form or names a method that is not among `methods`.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    known = sorted(set(methods), key=len, reverse=True)
    for method in known:
        if equals and name.startswith(f"{method}.") and len(name) > len(method) + 1:
            return method, name[len(method) + 1 :], value.strip()
    method, dot, field = name.rpartition(".")
    if not (equals and dot and method and field):
        raise UsageError(f"setting {text!r} is not of the form METHOD.field=value")
    raise UsageError(
        f"setting {text!r}: method {method!r} is not part of this run{did_you_mean(method, sorted(known))}"
    )


def resolve_config(
    method: str, cls: type, rate_settings: Mapping[str, Any], texts: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The method's Config with a rate point's settings and then the user's applied, as plain JSON.

    Args:
        method: name, for messages.
        cls: the Config dataclass.
        rate_settings: typed values by (dotted) field name, from the plugin.
        texts: (dotted field name, text) pairs, from the user.

    Raises:
        UsageError: if a field is unknown (similar ones are suggested), a text does not fit the field's type, or the
            Config refuses the values.
        PluginError: if the rate point does not fit the Config, or its types are none that settings can have.
    """
    values = _defaults(method, cls)
    for name, value in rate_settings.items():
        try:
            _assign(values, cls, name.split("."), value, typed=True)
        except (_MismatchError, UsageError) as error:
            raise PluginError(f"method {method!r}: the settings of a rate point: {name!r}: {error}") from error
    for name, text in texts:
        try:
            _assign(values, cls, name.split("."), text, typed=False)
        except _MismatchError as error:
            raise UsageError(f"{method}.{name}={text}: {error}") from None
        except _UnknownFieldError as error:
            raise UsageError(f"method {method!r}: {error} (all of them: gsbench plugins {method})") from None
        except UsageError as error:
            raise UsageError(f"method {method!r}: {error}") from None
    try:
        config = build_config(cls, values)
    except (ValueError, TypeError) as error:
        raise UsageError(f"method {method!r}: {error}") from error
    return config_to_json(config)


def build_config(cls: type, values: Mapping[str, Any]) -> Any:
    """The Config that `config_to_json` turned into `values`.

    Raises:
        TypeError, ValueError: if the values do not fit, from the Config's own checks or from ours.
    """
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {unknown[0]!r}")
    arguments = {}
    for field in dataclasses.fields(cls):
        if field.init and field.name in values:
            try:
                arguments[field.name] = _from_json(hints[field.name], values[field.name])
            except _MismatchError as error:
                raise ValueError(f"{field.name}: {error}") from None
    return cls(**arguments)


def config_to_json(config: Any) -> dict[str, Any]:
    """The fields of a Config dataclass as plain JSON values, nested ones included."""
    return {f.name: _to_json(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known of a setting of a method.

    Fields:
        name: dotted where nested, as in ``--set METHOD.name=value``.
        type: what it takes, in words.
        default: plain JSON, at the rate point that was asked for.
        stage: "train", or "encode" for those that can be changed without training anew.
        help: one line, or "".
    """

    name: str
    type: str
    default: Any
    stage: str
    help: str


def list_settings(cls: type, values: Mapping[str, Any], prefix: str = "", stage: str = "train") -> list[Setting]:
    """The settings of a Config dataclass in their order.

    Args:
        cls: the dataclass.
        values: its values as `resolve_config` returns them.
        prefix, stage: of the field that `cls` is the type of, where nested.
    """
    found: list[Setting] = []
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        annotation, name = hints[field.name], prefix + field.name
        own = field.metadata.get(CONFIG_STAGE_KEY, stage)
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
            found += list_settings(annotation, values[field.name], f"{name}.", own)
        else:
            text = str(field.metadata.get("help", ""))
            found.append(Setting(name, type_words(annotation), values[field.name], own, text))
    return found


def type_words(annotation: Any) -> str:
    """What a field of this type takes, in words: ``int``, ``fast|good``, ``float or none``, ``int,int``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        words = [type_words(a) for a in arguments if a is not type(None)]
        return " or ".join([*words, *(["none"] if type(None) in arguments else [])])
    if origin is Literal:
        return "|".join(map(str, arguments))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "|".join(str(member.value) for member in annotation)
    if annotation in (tuple, list) or origin in (tuple, list):
        if not arguments or origin is list or (len(arguments) == 2 and arguments[1] is Ellipsis):
            return f"{type_words(arguments[0]) if arguments else 'str'},..."
        return ",".join(map(type_words, arguments))
    return getattr(annotation, "__name__", str(annotation))


def encode_only_fields(cls: type, prefix: str = "") -> list[str]:
    """Dotted names of the fields that do not take part in training."""
    names: list[str] = []
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.metadata.get(CONFIG_STAGE_KEY) == "encode":
            names.append(prefix + field.name)
        elif dataclasses.is_dataclass(nested := hints[field.name]) and isinstance(nested, type):
            names += encode_only_fields(nested, f"{prefix}{field.name}.")
    return names


def without_fields(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """`config` without the fields of these dotted names."""
    dropped = set(names)
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in dropped:
            continue
        inner = [name.removeprefix(f"{key}.") for name in dropped if name.startswith(f"{key}.")]
        kept[key] = without_fields(value, inner) if inner and isinstance(value, Mapping) else value
    return kept


def _defaults(method: str, cls: type) -> dict[str, Any]:
    try:
        return config_to_json(cls())
    except TypeError as error:
        raise PluginError(f"method {method!r}: {cls.__name__}() does not work without arguments: {error}") from error


def _assign(values: dict[str, Any], cls: type, path: Sequence[str], value: Any, *, typed: bool) -> None:
    """Set one field, after checking its type."""
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    if path[0] not in names:
        raise _UnknownFieldError(f"there is no field {path[0]!r}{did_you_mean(path[0], names)}")
    annotation = hints[path[0]]
    nested = dataclasses.is_dataclass(annotation) and isinstance(annotation, type)
    if len(path) > 1:
        if not nested:
            raise UsageError(f"field {path[0]!r} has no parts, so {'.'.join(path)!r} means nothing")
        _assign(values[path[0]], annotation, path[1:], value, typed=typed)
    elif nested:
        parts = [f.name for f in dataclasses.fields(annotation)]
        raise UsageError(f"field {path[0]!r} has parts; set one of them, such as {path[0]}.{parts[0]}")
    else:
        values[path[0]] = _to_json(_from_json(annotation, value) if typed else parse_value(annotation, value))


def parse_value(annotation: Any, text: str) -> Any:
    """The value that `text` stands for in a field of type `annotation`.

    Types are int, float, bool, str, Enum, Literal, Optional of these, and tuples and lists of these written as
    ``1,2,3``. "none" is None where the field may be None.

    Raises:
        _MismatchError: if it stands for none.
        PluginError: if settings cannot have this type.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _parse_union(arguments, text)
    if origin is Literal:
        for choice in arguments:
            if str(choice) == text:
                return choice
        raise _MismatchError(f"expected one of {', '.join(map(str, arguments))}")
    if annotation in (tuple, list) or origin in (tuple, list):
        parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
        return _sequence(annotation, parts, parse_value)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        for member in annotation:
            if text in (member.name, str(member.value)):
                return member
        raise _MismatchError(f"expected one of {', '.join(str(m.value) for m in annotation)}")
    if annotation is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise _MismatchError("expected true or false")
    if annotation is int:
        return _parse_int(text)
    if annotation is float:
        return _parse_float(text)
    if annotation is str:
        return text
    raise PluginError(f"a setting of type {annotation!r} cannot be given as text")


def _parse_union(choices: Sequence[Any], text: str) -> Any:
    if type(None) in choices and text.lower() in _NONE:
        return None
    problems: list[str] = []
    for choice in choices:
        if choice is not type(None):
            try:
                return parse_value(choice, text)
            except _MismatchError as error:
                problems.append(str(error))
    none = " or none" if type(None) in choices else ""
    raise _MismatchError(f"{problems[0] if len(problems) == 1 else ', or '.join(problems)}{none}")


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)  # 3e4
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise _MismatchError("expected a whole number")
    return int(value)


def _parse_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _MismatchError("expected a finite number")
    return value


def _sequence(annotation: Any, parts: Sequence[Any], convert: Any) -> Any:
    """A tuple or list whose parts are converted by the annotation's own arguments."""
    kind = get_origin(annotation) or annotation
    arguments = get_args(annotation)
    if kind is list:
        return [convert(arguments[0] if arguments else str, part) for part in parts]
    if not arguments or (len(arguments) == 2 and arguments[1] is Ellipsis):
        return tuple(convert(arguments[0] if arguments else str, part) for part in parts)
    if len(parts) != len(arguments):
        raise _MismatchError(f"expected {len(arguments)} values separated by commas, got {len(parts)}")
    return tuple(convert(argument, part) for argument, part in zip(arguments, parts, strict=True))


def _to_json(value: Any) -> Any:
    """A field's value as plain JSON."""
    if isinstance(value, enum.Enum):
        return _to_json(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return config_to_json(value)
    if isinstance(value, tuple | list):
        return [_to_json(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PluginError(f"a setting of a method is {value}; expected a finite number")
        return value
    raise PluginError(f"a setting of a method is a {type(value).__name__}, which is not plain JSON")


def _from_json(annotation: Any, value: Any) -> Any:
    """The inverse of `_to_json`, checked by the annotation.

    Raises:
        _MismatchError: if `value` is of another type.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin in (Union, types.UnionType):
        for choice in arguments:
            try:
                return _from_json(choice, value)
            except _MismatchError:
                continue
        raise _MismatchError(f"expected {annotation}, got {value!r}")
    if origin is Literal:
        if value in arguments:
            return value
        raise _MismatchError(f"expected one of {', '.join(map(repr, arguments))}, got {value!r}")
    if annotation in (tuple, list) or origin in (tuple, list):
        if not isinstance(value, tuple | list):
            raise _MismatchError(f"expected a sequence, got {value!r}")
        return _sequence(annotation, value, _from_json if get_args(annotation) else lambda _, item: item)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        if isinstance(value, Mapping):
            return build_config(annotation, value)
        if isinstance(value, annotation):
            return value
        raise _MismatchError(f"expected the fields of {annotation.__name__}, got {value!r}")
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        try:
            return annotation(value)
        except ValueError as error:
            raise _MismatchError(str(error)) from None
    if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if annotation in (None, type(None)) and value is None:
        return None
    if annotation in (bool, int, str) and type(value) is annotation:
        return value
    raise _MismatchError(f"expected {getattr(annotation, '__name__', annotation)}, got {value!r}")
