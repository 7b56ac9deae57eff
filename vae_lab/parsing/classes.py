"""The classes that a configuration may name, and their settings."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import isabstract, isclass, signature
from pydoc import locate
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from vae_lab.errors import LabError

__all__ = ["check_made", "class_names", "derived", "parameters", "settings"]


def class_names() -> Iterator[str]:
    """Yield the names of all concrete classes."""
    return (kind.__name__ for kind in _classes() if not isabstract(kind))


def _classes() -> Iterator[type]:
    for room in (
        "data",
        "models",
        "nets",
        "likelihoods",
        "priors",
        "posteriors",
        "conditions",
        "corruptions",
        "penalties",
        "adversarial_losses",
        "codes",
    ):
        module = import_module(f"vae_lab.{room}")
        yield from (part for part in map(vars(module).get, module.__all__) if isclass(part))


def derived(kind: type) -> Iterator[type]:
    """Yield all public concrete subclasses of a class."""
    below: list[type] = kind.__subclasses__()
    for other in below:
        if not (isabstract(other) or other.__name__.startswith("_")):
            yield other
        yield from derived(other)


def settings(path: str) -> list[str]:
    """Return a class's settings, including those that it passes on to its base classes."""
    kind: Any = locate(path)
    found: list[str] = ArgumentParser().add_class_arguments(kind, fail_untyped=False)
    return found


def check_made(config: Namespace) -> None:
    """Refuse abstract classes, which jsonargparse takes for factory functions.

    Raises:
        LabError: If the configuration names one.
    """
    for key, path in config.items():
        kind: Any = locate(str(path)) if key.endswith(".class_path") else None
        if isabstract(kind):
            place, name = key.replace(".init_args", "")[: -len(".class_path")], kind.__name__
            lacking = ", ".join(f"`{method}`" for method in sorted(kind.__abstractmethods__))
            raise LabError(
                f"{place}: {name} is abstract, without {lacking}: name a class made of it."
            )


def parameters(groups: Mapping[type, str]) -> Iterator[str]:
    """Yield the settings of all classes that a configuration may name, as `model.lr`.

    Args:
        groups: The option of each base class; settings of other classes begin with a dot.
    """
    for kind in _classes():
        group = next((name for base, name in groups.items() if issubclass(kind, base)), "")
        yield from (f"{group}.{name}" for name in signature(kind).parameters)
