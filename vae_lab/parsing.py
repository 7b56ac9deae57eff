"""Command-line errors in a sentence or two."""

import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib import import_module
from inspect import isclass, signature
from typing import NoReturn

from jsonargparse import ArgumentParser

__all__ = ["LabParser", "brief"]

OPTION = re.compile(r"(?:[Oo]ption '|unrecognized arguments: --)([\w.]+)")
KEY = re.compile(r'Parser key "([\w.]+)"')
CLASS = re.compile(r"Expected a dot import path string: (\S+)")
EXPECTED = re.compile(r"Expected a (?:<class '([\w.]+)'>|typing\.Literal\[(.+?)\])")
GIVEN = re.compile(r"(?:Got value|Given value): (.*)")


class LabParser(ArgumentParser):
    """An argument parser whose errors are short enough to be read."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        known = [*(action.dest for action in parser._actions), *_parameters()]
        prog = self.prog.replace(" [options]", "")
        print(f"{prog}: {brief(message, known)}", file=sys.stderr)
        sys.exit(2)


def brief(message: str, options: Iterable[str] = ()) -> str:
    """Boil a message of jsonargparse down to what was wrong and what was meant.

    Args:
        message: The message, of several lines and all the types that were tried.
        options: Names that would have been accepted.
    """
    if wrong := OPTION.search(message):
        return f"there is no setting {wrong[1]!r}{_nearest(wrong[1], options)}"
    key = KEY.search(message)
    about = f"{key[1]}: " if key else ""
    if wrong := CLASS.search(message):
        names = [kind.__name__ for kind in _classes()]
        return f"{about}there is no class {wrong[1]!r}{_nearest(wrong[1], names)}"
    wanted = [_plain(*match) for match in EXPECTED.findall(message)]
    wanted = [name for name in dict.fromkeys(wanted) if name != "NoneType"]
    if wanted and (given := GIVEN.search(message)):
        return f"{about}expected {' or '.join(wanted)}, not {given[1]!r}."
    return re.sub(r'Parser key "[\w.]+":\s*', "", " ".join(message.split()))


def _plain(name: str, literals: str) -> str:
    return name.rsplit(".", 1)[-1] if name else f"one of {literals}"


def _nearest(wrong: str, known: Iterable[str]) -> str:
    near = get_close_matches(wrong, set(known), 1)
    return f"; did you mean {near[0]!r}?" if near else "."


def _classes() -> Iterator[type]:
    for room in ("data", "models", "nets", "likelihoods", "priors"):
        module = import_module(f"vae_lab.{room}")
        yield from (part for part in map(vars(module).get, module.__all__) if isclass(part))


def _parameters() -> Iterator[str]:
    for kind in _classes():
        yield from signature(kind).parameters
