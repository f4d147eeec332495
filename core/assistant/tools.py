"""What the model may call: schemas made from signatures and docstrings, arguments checked before anything runs, nothing that writes."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from core.assistant.desk import Desk
from core.assistant.facts import Found
from core.assistant.proposing import PROPOSING
from core.assistant.reading import READING
from core.assistant.records import RECORDS
from core.sextant import Sextant
from data.errors import InputError
from data.market import did_you_mean

Function = Callable[..., Found]
MOST_ARGUMENTS = 2_000  # characters
MOST_TEXT = 60


@dataclass(frozen=True)
class Tool:
    """One function a model may call."""

    name: str
    function: Function
    proposes: bool = False

    @property
    def says(self) -> str:
        """Its docstring in one line."""
        return " ".join((inspect.getdoc(self.function) or "").split())

    def parameters(self, sextant: Sextant) -> dict[str, dict[str, Any]]:
        """JSON schema of each parameter, by name."""
        hints = get_type_hints(self.function, include_extras=True)
        out = {}
        for name, parameter in list(inspect.signature(self.function).parameters.items())[1:]:
            out[name] = _schema(hints[name], sextant)
            if parameter.default is not inspect.Parameter.empty and parameter.default not in ("", None):
                out[name]["default"] = parameter.default
        return out

    def parameter_names(self) -> list[str]:
        return list(inspect.signature(self.function).parameters)[1:]

    def required(self) -> list[str]:
        return [n for n, p in list(inspect.signature(self.function).parameters.items())[1:] if p.default is inspect.Parameter.empty]

    def schema(self, sextant: Sextant) -> dict[str, Any]:
        """As the protocol wants it."""
        return {"type": "function", "function": {"name": self.name, "description": self.says, "parameters": {
            "type": "object", "properties": self.parameters(sextant), "required": self.required(), "additionalProperties": False}}}

    def checked(self, sextant: Sextant, given: str) -> dict[str, Any]:
        """Arguments of a call, as they may be used.

        Raises
        ------
        InputError
            Saying what was expected and what arrived; the model reads it.
        """
        if len(given) > MOST_ARGUMENTS:
            raise InputError(f"expected at most {MOST_ARGUMENTS} characters of arguments, got {len(given)}")
        try:
            arguments = json.loads(given or "{}", parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise InputError("expected the arguments as one JSON object") from None
        if not isinstance(arguments, dict):
            raise InputError(f"expected the arguments as one JSON object, got a {type(arguments).__name__}")
        known = self.parameters(sextant)
        for name in arguments:
            if name not in known:
                raise InputError(f"{self.name} has no argument {str(name)[:30]!r}{did_you_mean(str(name), list(known))}; it has "
                                 f"{', '.join(known) or 'none'}")
        for name in self.required():
            if name not in arguments:
                raise InputError(f"{self.name} needs {name}")
        return {name: _value(name, value, known[name]) for name, value in arguments.items() if value is not None}

    def run(self, desk: Desk, arguments: Mapping[str, Any]) -> Found:
        return self.function(desk, **arguments)


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _schema(hint: Any, sextant: Sextant) -> dict[str, Any]:
    """The schema of one annotation: a named vocabulary, a range, or words."""
    if get_origin(hint) is Annotated:
        kind, mark = get_args(hint)[0], get_args(hint)[1]
        if isinstance(mark, tuple):
            return {"type": "integer" if kind is int else "number", "minimum": mark[0], "maximum": mark[1]}
        return {"type": "string", "enum": vocabulary(mark, sextant)}
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    if get_origin(hint) is Union or isinstance(hint, UnionType):
        parts = [_schema(part, sextant) for part in get_args(hint) if part is not NoneType]
        return parts[0] if len(parts) == 1 else {"type": "string", "enum": [word for part in parts for word in part["enum"]]}
    return {"type": "string", "maxLength": MOST_TEXT}


def vocabulary(name: str, sextant: Sextant) -> list[str]:
    """The words that an argument may take in this world."""
    from analysis.composites import COMPOSITES
    from core.strategies import STRATEGIES
    from data.labels import LABELS

    words = {
        "symbol": lambda: sorted({k.symbol for k in sextant.reader.keys()}),
        "interval": lambda: [str(i) for i in sorted({k.interval for k in sextant.reader.keys()}, key=lambda i: i.ms)],
        "composite": lambda: [c.name for c in COMPOSITES], "module": lambda: [m.commands[0] for m in sextant.modules],
        "score": lambda: [c.name for c in COMPOSITES] + [m.commands[0] for m in sextant.modules],
        "rule": lambda: [s.name for s in STRATEGIES], "label": lambda: [k.name for k in LABELS]}
    return words[name]()


def _value(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema["type"]
    if kind == "string":
        if not isinstance(value, str) or len(value) > MOST_TEXT:
            raise InputError(f"{name}: expected a short text, got {_told(value)}")
        words = schema.get("enum")
        if words is None or value == "":
            return value
        found = next((w for w in words if w.lower() == value.strip().lower()), None)
        if found is None:
            raise InputError(f"{name}: expected one of {', '.join(words[:40])}, got {_told(value)}{did_you_mean(value, words)}")
        return found
    known = isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) != math.inf
    if not known or (kind == "integer" and value != int(value)):
        raise InputError(f"{name}: expected {'a whole number' if kind == 'integer' else 'a number'}, got {_told(value)}")
    if not schema["minimum"] <= value <= schema["maximum"]:
        raise InputError(f"{name}: expected {schema['minimum']} to {schema['maximum']}, got {_told(value)}")
    return int(value) if kind == "integer" else float(value)


def _told(value: Any) -> str:
    return repr(value)[:40]


TOOLS: tuple[Tool, ...] = (*(Tool(f.__name__, f) for f in (*READING, *RECORDS)),
                           *(Tool(f.__name__, f, proposes=True) for f in PROPOSING))


def tool(name: str) -> Tool:
    """A tool by its name.

    Raises
    ------
    InputError
        When there is none.
    """
    for each in TOOLS:
        if each.name == name:
            return each
    names = [t.name for t in TOOLS]
    raise InputError(f"there is no tool {name[:40]!r}{did_you_mean(name[:40], names)}; there are {', '.join(names)}")
