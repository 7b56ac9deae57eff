"""The parser of the command line."""

import re
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from collections.abc import Iterable
from inspect import getdoc
from textwrap import shorten
from typing import Any, NoReturn

import yaml
from jsonargparse import (
    ArgumentParser,
    DefaultHelpFormatter,
    Namespace,
    get_loader,
    set_loader,
)

from vae_lab.errors import LabError
from vae_lab.parsing.classes import derived
from vae_lab.parsing.messages import brief
from vae_lab.yaml_text import check_names

__all__ = ["LabParser"]

_ARGUMENTS = re.compile(r"Args:\n(?: .*\n|\n)*")

_load = get_loader("yaml")


def _load_once_named(text: str) -> Any:
    """Load the YAML of a configuration or a part of one, and refuse duplicate keys."""
    check_names(text)
    return _load(text)


set_loader("yaml", _load_once_named, (yaml.YAMLError,))


class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Formats options like jsonargparse, and leaves other text unchanged."""


class LabParser(ArgumentParser):
    """An argument parser with short error messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # With abbreviations, a mistyped name could pass for another one.
        super().__init__(*args, allow_abbrev=False, formatter_class=Formatter, **kwargs)

    def add_class_arguments(
        self, theclass: type, nested_key: str | None = None, *args: Any, **kwargs: Any
    ) -> list[str]:
        """Add a class's arguments; its help page begins with its whole docstring."""
        told, _, path = str(self.description).removeprefix("Help for ").partition("=")
        if shown := told.startswith("--"):
            self.usage = SUPPRESS  # the settings are listed below
            self.description = f"{path}: {_about(theclass)}{_made_of(theclass, told)}"
            # It comes from the data, not from the user.
            kwargs["skip"] = {*(kwargs.get("skip") or ()), "shape"}
        added: list[str] = super().add_class_arguments(theclass, nested_key, *args, **kwargs)
        if shown and self.groups and nested_key:
            self.groups[nested_key].title = "settings"
        return added

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        try:
            parsed: Namespace = super().parse_path(path, *args, **kwargs)
        except UnicodeDecodeError as error:
            raise LabError(f"{path} is not text, so it is no configuration.") from error
        except LabError as error:  # say which file is wrong
            raise LabError(f"{path}: {error}") from error
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a short error.

        Raises:
            LabError: Always; the command line adds its own name and the exit status.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        known = [action.dest for action in parser._actions]
        rest = f"; `{parser.prog.replace(' [options]', '')} --help` lists them."
        raise LabError(brief(message, known, self.nested(), rest)) from ex

    def nested(self) -> Iterable[str]:
        """Return settings of the classes that options take, as `model.lr`."""
        return ()


def _about(kind: type) -> str:
    """Return a class's docstring without its arguments, which the help lists itself."""
    return _ARGUMENTS.sub("", f"{getdoc(kind)}\n")


def _made_of(kind: type, option: str) -> str:
    """Return the help's list of a class's subclasses, one line each."""
    made = {other.__name__: str(getdoc(other)).partition("\n")[0] for other in derived(kind)}
    if not made:
        return ""
    width = max(map(len, made))
    lines = [f"  {name:<{width}}  {shorten(line, 100)}" for name, line in sorted(made.items())]
    return "\n".join(["", f"classes made of it, each told by `{option} NAME`:", *lines])
