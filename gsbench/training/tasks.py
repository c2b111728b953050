"""`@task`: functions whose parameters are filled by their annotations.

What can be injected is known when a task is registered, so a parameter that cannot be filled is an error then, naming
the function and the parameter, and never a silent None in the middle of a run.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, Union

from gsbench.errors import TaskError

F = TypeVar("F", bound=Callable[..., Any])

TASK_MARK: Final = "__gsbench_task__"


def task(function: F) -> F:
    """Mark a function or method as a scheduled task.

    Its parameters are filled by annotation when the scheduler runs it: `RenderResult`, `OptimizationParams`,
    `PipelineParams`, `CameraIterator`, `Camera`, `LossPack` (or a subclass of them), and `int` for the step. String
    annotations work, and ``Optional[...]`` is None where the value does not exist (a `RenderResult` before the render).
    A parameter with a default is filled if it can be, and keeps its default otherwise. The function itself is
    unchanged and can be called directly.
    """
    setattr(function, TASK_MARK, True)
    return function


#: Where a parameter's value comes from: the step, a constant, or a value of the step looked up by its type.
_STEP: Final = object()


class Injectables:
    """The values that tasks can ask for.

    Args:
        constants: objects that stay the same during a run, found by their type (the params, the cameras).
        per_step: types whose values change with every step; they are looked up when a task runs.
    """

    def __init__(self, constants: tuple[object, ...], per_step: tuple[type, ...]) -> None:
        self.constants = constants
        self.per_step = per_step

    def names(self) -> dict[str, type]:
        """Every class that an annotation may name, bases included, by its bare name."""
        found: dict[str, type] = {}
        for cls in (*(type(c) for c in self.constants), *self.per_step):
            for base in cls.__mro__[:-1]:
                found.setdefault(base.__name__, base)
        return found

    def describe(self) -> str:
        """For messages: what there is."""
        return ", ".join(["int", *(type(c).__name__ for c in self.constants), *(t.__name__ for t in self.per_step)])


def qualified_name(function: Callable[..., Any]) -> str:
    """A name for messages: Class.method, function, or the type of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        # The class of the object, not the one that defines the method: it is the user's own.
        cls = owner if isinstance(owner, type) else type(owner)
        return f"{cls.__name__}.{getattr(function, '__name__', '?')}"
    return str(getattr(function, "__qualname__", type(function).__name__)).rsplit("<locals>.", 1)[-1]


def bind(function: Callable[..., Any], available: Injectables) -> Callable[[int, Mapping[type, object]], object]:
    """A function of (step, values) that calls `function` with its parameters filled.

    Raises:
        TaskError: if a parameter cannot be filled; the message names the function and the parameter.
    """
    name = qualified_name(function)
    if not callable(function):
        raise TaskError(f"task {name}: expected a function, got {type(function).__name__}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise TaskError(f"task {name}: its signature cannot be inspected ({error})") from error

    positional: list[object] = []
    keywords: dict[str, object] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        source = _source(function, name, parameter, available)
        if source is parameter.empty:
            continue  # the parameter's own default
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(source)
        else:
            keywords[parameter.name] = source

    if not positional and not keywords:
        return lambda step, values: function()
    return _Bound(function, name, positional, keywords)


class _Bound:
    """A function with the sources of its arguments."""

    def __init__(
        self, function: Callable[..., Any], name: str, positional: list[object], keywords: dict[str, object]
    ) -> None:
        self.function, self.name, self.positional, self.keywords = function, name, positional, keywords

    def __call__(self, step: int, values: Mapping[type, object]) -> object:
        positional = [self._value(source, step, values) for source in self.positional]
        keywords = {key: self._value(source, step, values) for key, source in self.keywords.items()}
        result: object = self.function(*positional, **keywords)
        return result

    def _value(self, source: object, step: int, values: Mapping[type, object]) -> object:
        if source is _STEP:
            return step
        if not isinstance(source, _PerStep):
            return source
        value = values.get(source.declared)
        if isinstance(value, source.wanted):
            return value
        raise TaskError(f"expected a {source.wanted.__name__} in this step, got {type(value).__name__}")


class _PerStep:
    """A value of the step: looked up under its declared type, and of the wanted (sub)class."""

    def __init__(self, declared: type, wanted: type) -> None:
        self.declared, self.wanted = declared, wanted


def _source(function: Callable[..., Any], name: str, parameter: inspect.Parameter, available: Injectables) -> object:
    """Where the parameter's value comes from; `Parameter.empty` to leave it to its default."""
    empty = inspect.Parameter.empty
    has_default = parameter.default is not empty
    where = f"task {name}: parameter {parameter.name!r}"
    if parameter.annotation is empty:
        if has_default:
            return empty
        raise TaskError(f"{where} has no annotation, so nothing can be injected; known: {available.describe()}")
    try:
        annotation = _resolve(function, parameter.annotation, available)
    except Exception as error:
        if has_default:
            return empty
        raise TaskError(f"{where}: annotation {parameter.annotation!r} cannot be resolved ({error})") from error

    annotation, optional = _strip(annotation)
    if annotation is int:
        return _STEP
    problem = "this phase offers no such value"
    if isinstance(annotation, type) and annotation not in (object, bool, float, str):
        matches = [c for c in available.constants if isinstance(c, annotation)]
        if len(matches) == 1:
            return matches[0]
        if len(matches) > 1:
            types_found = " and ".join(type(m).__name__ for m in matches)
            problem = f"it is ambiguous between {types_found}"
        for declared in available.per_step:
            if issubclass(annotation, declared):
                return _PerStep(declared, annotation)
    if has_default:
        return empty
    if optional:
        return None
    shown = getattr(annotation, "__name__", str(annotation))
    raise TaskError(f"{where} of type {shown} cannot be injected: {problem}; known: {available.describe()}")


def _resolve(function: Callable[..., Any], annotation: Any, available: Injectables) -> Any:
    """The annotation with strings evaluated, in the function's module and among the injectable classes.

    The second makes names that are imported for type checkers only usable.
    """
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    plain = inspect.unwrap(getattr(plain, "__func__", plain))
    if not hasattr(plain, "__globals__"):
        plain = type(plain).__call__  # an object with a __call__ method
    namespace = {**available.names(), **getattr(plain, "__globals__", {})}
    holder = types.SimpleNamespace(__annotations__={"value": annotation})
    return typing.get_type_hints(holder, globalns={"Optional": typing.Optional, **namespace})["value"]


def _strip(annotation: Any) -> tuple[Any, bool]:
    """The annotation without Annotated and Optional, and whether it was optional."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (Union, types.UnionType):
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional = len(members) < len(typing.get_args(annotation))
        if len(members) == 1:
            return members[0], optional
        return annotation, optional
    return annotation, False
