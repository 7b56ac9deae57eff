"""Models and data record the arguments they were built from, in Python or by the CLI."""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from inspect import BoundArguments, Parameter, Signature, signature
from pathlib import Path
from typing import Any, Self

import numpy as np
from jsonargparse import Namespace
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin

from vae_lab.errors import LabError

__all__ = ["Described", "said"]

_INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
_VARIADIC = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}


class Described(HyperparametersMixin):
    """Base of models and data modules whose checkpoints store arguments as in a YAML file."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        # Lightning's own record does not distinguish a class's `**kwargs` from what it passes to
        # its parent.
        made.__dict__["_called"] = (args, kwargs)
        return made

    def note_settings(self) -> None:
        """Store the arguments in `hparams`, unless the command line has done so.

        Raises:
            LabError: If one of them cannot be stored in a checkpoint.
        """
        self.save_hyperparameters(logger=False)
        args, kwargs = self.__dict__["_called"]
        if "_instantiator" in self.hparams:
            return
        call = _call(type(self), args, kwargs)
        call.apply_defaults()
        self.hparams.clear()
        self.hparams.update({name: said(value) for name, value in _named(call)})
        self.hparams.update({"_class_path": _path(type(self)), "_instantiator": _INSTANTIATOR})


def _call(kind: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundArguments:
    """Bind a call's arguments to a class's signature, or to its parent's if it passes all on."""
    takes: list[Parameter] = []
    for base in kind.__mro__:
        # The signature of the class itself is that of `__new__` in some Python versions.
        _, *takes = signature(vars(base).get("__init__", _all)).parameters.values()
        all_handed_on = takes and {parameter.kind for parameter in takes} <= _VARIADIC
        if "__init__" in vars(base) and not all_handed_on:
            break
    return Signature(takes).bind_partial(*args, **kwargs)


def _all(self: Any, *args: Any, **kwargs: Any) -> None:
    """Take what a class without a constructor does."""


def _named(call: BoundArguments) -> Iterator[tuple[str, Any]]:
    """Yield each argument of a call with its name."""
    for name, value in call.arguments.items():
        kind = call.signature.parameters[name].kind
        if kind is Parameter.VAR_KEYWORD:
            yield from value.items()
        elif kind is not Parameter.VAR_POSITIONAL:
            yield name, value
        elif value:
            raise LabError(f"Give {value} by name: a checkpoint could not say what they are.")


def said(value: Any) -> Any:
    """Convert an argument to its form in a YAML file.

    Raises:
        LabError: If it has none.
    """
    if isinstance(value, partial) and isinstance(value.func, type):
        given = _named(_call(value.func, value.args, value.keywords))
        return {**said(value.func), "init_args": {name: said(part) for name, part in given}}
    if isinstance(value, type):
        return {"class_path": _path(value)}
    if isinstance(value, Namespace):
        return said(value.as_dict())
    if isinstance(value, Mapping):
        return {key: said(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [said(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise LabError(
        f"A checkpoint cannot hold {value!r}; give a number, a text, a class, or a "
        "functools.partial of a class."
    )


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
