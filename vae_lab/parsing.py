"""Command-line errors in a sentence or two."""

import re
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from importlib import import_module
from inspect import getdoc, isabstract, isclass, signature
from pydoc import locate
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
from vae_lab.yaml_text import check_names

__all__ = ["LabParser", "brief", "check_made", "parameters"]

OPTION = re.compile(r"(?:accept option '|unrecognized arguments: --)([\w.-]+)")
SETTING = re.compile(r"[Oo]ption '([\w.-]+)")
OWNER = re.compile(
    r"is not accepted\. Got value: Namespace\(class_path='([\w.]+)'|"
    r"given class_path '([\w.]+)':\s+Option '"
)
CHOSEN = re.compile(r"given class_path '([\w.]+)'")
STRAY = re.compile(r"unrecognized arguments: ([-–—]?)([A-Za-z][\w.]*)")
FILE = re.compile(r"unrecognized arguments: ([^-\s]\S*\.ya?ml)")
KEY = re.compile(r'Parser key "([\w.]+)"')
CLASS = re.compile(r"Expected a dot import path string: (\S+)")
MODULE = re.compile(
    r"class_path '(([\w.]+?)(?:\.[\w.]+)?)':\s+(?:No module named '\2'|module \S+ has no attribute)"
)
IMPORT = re.compile(r"class_path '(\S+)':\s+No module named '(\S+)'")
SUBCLASS = re.compile(r"Expected '(\S+)' to be a subclass of <class '(\w+)'>")
UNUSABLE = re.compile(
    r"Errors:\s+- (?:Problem with given class_path \S+\s+)?([^\n]+)\n.*Given value: ([\w.]+\.\w+)$",
    re.DOTALL,
)
CLASSLESS = re.compile(
    r"(?:Not a valid subclass|is abstract|must include a class_path).*?NestedArg\(key='([\w.]+)'",
    re.DOTALL,
)
AMBIGUOUS = re.compile(r"Multiple subclasses with name (\w+)\. Give [^:]*: ([\w., ]+)\.")
KIND = re.compile(r"does not correspond to a subclass of (\w+)")
EXPECTED = re.compile(
    r"Expected a (?:<class '([\w.]+)'>|typing\.Literal\[(.+?)\]|tuple with (\d+) elements)"
)
GIVEN = re.compile(r"(?:Got value|Given value): (.*?)(?:\. Got value|$)", re.MULTILINE)
MISSING = re.compile(r"arguments are required: ([\w., ]+)")
ARGUMENTS = re.compile(r"Args:\n(?: .*\n|\n)*")
VALUELESS = re.compile(r"argument (?:-\w/)?--(\S+): expected (?:at least )?one argument")
TWICE = re.compile(r"\S+ stands there twice, again in line \d+\.")
FILELESS = re.compile(r"Unable to load config '(.*?)'")
YAML = re.compile(r"Problems parsing config: .*line (\d+), column (\d+)", re.DOTALL)

# What other programs call a setting, and what it is here.
ELSEWHERE = {
    "seed": "seed_everything",
    "gpu": "trainer.accelerator",
    "cuda": "trainer.accelerator",
    "gpus": "trainer.devices",
    "learning_rate": "model.lr",
    "optimizer": "model.lr",
    "optimiser": "model.lr",
    "resume": "ckpt_path",
    "checkpoint": "ckpt_path",
    "data_dir": "data.root",
    "data_path": "data.root",
    "image_size": "data.resize",
    "z_dim": "model.latent_dim",
    "kl_weight": "model.beta",
    "kld_weight": "model.beta",
    "epoch": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
}
# What loaders of images have to be told elsewhere, and why no training of ours is.
_LOADERS = ("num_workers", "workers", "pin_memory", "persistent_workers", "prefetch_factor")
NEEDLESS = {
    **dict.fromkeys(_LOADERS, ": all images lie in memory, and no workers load them."),
    "shuffle": ": training images come in another order every epoch.",
    "download": ": images that --data.root lacks are downloaded, once.",
}


_load = get_loader("yaml")


def _load_once_named(text: str) -> Any:
    """Load a configuration, the file of a part of one, or a word that stands in a file's place."""
    check_names(text)
    return _load(text)


set_loader("yaml", _load_once_named, (yaml.YAMLError,))


class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Lays options out as jsonargparse does, and leaves what stands around them as it is."""


class LabParser(ArgumentParser):
    """An argument parser whose errors are short enough to be read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # An abbreviation would let a mistyped name pass for another one.
        super().__init__(*args, allow_abbrev=False, formatter_class=Formatter, **kwargs)

    def add_class_arguments(
        self, theclass: type, nested_key: str | None = None, *args: Any, **kwargs: Any
    ) -> list[str]:
        """Add a class's arguments; a help of the class begins with its whole docstring."""
        told, _, path = str(self.description).removeprefix("Help for ").partition("=")
        if shown := told.startswith("--"):
            self.usage = SUPPRESS  # the settings themselves stand below
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
        except LabError as error:  # of several files one is to blame
            raise LabError(f"{path}: {error}") from error
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what was wrong.

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
        """Return the settings that a command has beneath its options, as `model.lr`."""
        return ()


def brief(
    message: str, options: Iterable[str] = (), nested: Iterable[str] = (), rest: str = "."
) -> str:
    """Boil a message of jsonargparse down to what was wrong and what was meant.

    Args:
        message: The message, of several lines and all the types that were tried.
        options: Names that would have been accepted.
        nested: Settings of classes, as `model.lr`, or `.lr` where no option takes the class.
        rest: What is said of a name that is like none of them.
    """
    if file := FILE.search(message):
        return f"{file[1]} stands alone; did you mean --config {file[1]}?"
    nested = [*nested]
    whole = [*options, *(name for name in nested if not name.startswith("."))]
    if (stray := STRAY.search(message)) and stray[2] in whole:
        return f"{stray[1]}{stray[2]} is no option; did you mean --{stray[2]}?"
    if bare := VALUELESS.search(message):
        behind = any(name.startswith(f"{bare[1]}.") for name in whole)
        return f"--{bare[1]}{', or a setting behind it,' * behind} lacks its value."
    if wrong := OPTION.search(message):
        return f"there is no setting {wrong[1]!r}{_nearest_option(wrong[1], whole, rest)}"
    keys = ".".join(dict.fromkeys(KEY.findall(message)))
    if wrong := SETTING.search(message):
        name = ".".join(filter(None, (keys, wrong[1])))
        return f"there is no setting {name!r}{_nearest_setting(name, message, nested, whole, rest)}"
    if bare := FILELESS.search(message):
        return f"{keys}: {bare[1]!r} is no file of settings; {_instead(keys, whole)}"
    return f"{keys}: {_wrong(message)}" if keys else _wrong(message)


def _wrong(message: str) -> str:
    if twice := TWICE.search(message):
        return twice[0]
    given = GIVEN.search(message)
    if early := CLASSLESS.search(message):
        return f"there is no class yet to take {early[1]}: name one before, or a --config FILE."
    if given and "is abstract" in message:
        return f"{given[1]} is abstract: name a class made of it."
    if several := AMBIGUOUS.search(message):
        return f"several classes are called {several[1]}: give one of {several[2]}."
    if wrong := CLASS.search(message) or MODULE.search(message):
        if wrong[1] in _class_names():
            return f"{wrong[1]} is of another kind than what goes there."
        return f"there is no class {wrong[1]!r}{_nearest(wrong[1], _class_names())}"
    if wrong := IMPORT.search(message):
        return f"{wrong[1]} cannot be imported: there is no module {wrong[2]!r}."
    if other := SUBCLASS.search(message):
        return f"{other[1]} is no {other[2]}."
    if given and (kind := KIND.search(message)):
        return f"{given[1]} is no {kind[1]}."
    if missing := MISSING.search(message):
        names = re.sub(r"\b(fit|validate|test|predict)\.", "", missing[1])
        hint = ": name an experiment by --config FILE" if "model" in names else ""
        return f"{names} must be given{hint}."
    wanted = [_plain(*match) for match in EXPECTED.findall(message)]
    wanted = [name for name in dict.fromkeys(wanted) if name != "NoneType"]
    if wanted and given:
        return f"expected {' or '.join(wanted)}, not {given[1]!r}."
    if unusable := UNUSABLE.search(message):
        return f"{unusable[2]} cannot be used: {unusable[1]}."
    if place := YAML.search(message):
        return f"the configuration is not YAML at line {place[1]}, column {place[2]}."
    if message.startswith("Unexpected config:"):
        return "the configuration is empty, or is not made of `name: value` lines."
    return shorten(KEY.sub("", message).lstrip(": "), 300)


def _plain(name: str, literals: str, length: str) -> str:
    if length:
        return f"a list of {length}"
    if name.endswith((".Sequence", "tuple")):
        return "a list in brackets"
    return name.rsplit(".", 1)[-1] if name else f"one of {literals}"


def _nearest(wrong: str, known: Iterable[str]) -> str:
    near = _closest(wrong, known)
    return f"; did you mean {near!r}?" if near else "."


def _closest(wrong: str, known: Iterable[str]) -> str:
    """Return which of the known names is meant, or an empty text if none is like it."""
    names = {*known} - {wrong}
    if same := next((name for name in names if name.lower() == wrong.lower()), None):
        return same
    # A wrong first or last part hides how near the rest is.
    parts = (wrong, wrong.partition(".")[0], wrong.rpartition(".")[2])
    return next((near[0] for part in parts if (near := get_close_matches(part, names, 1))), "")


def _nearest_setting(
    wrong: str, message: str, nested: Iterable[str], options: Iterable[str], rest: str
) -> str:
    """Name the setting that is meant of the class that is chosen there, or else an option."""
    place, _, name = wrong.rpartition(".")
    group = place.partition(".")[0]
    kin = place if place == group else ""  # what stands behind parts of a model has no group
    if f"{kin}.{name}" in nested:
        return " of the class that is chosen there, though others have one."
    if owner := OWNER.search(message):
        path = owner[1] or owner[2]
        # Other words for a setting may be like another setting by their letters.
        if name not in ELSEWHERE and (near := _closest(name, _settings(path))):
            return f"; did you mean '{place}.{near}'?"
        rest = rest.replace("--help", f"--{place}.help {path.rpartition('.')[2]}")
    there = {f"{group}.{own}" for path in CHOSEN.findall(message) for own in _settings(path)}
    others = [o for o in options if not o.startswith(f"{group}.") or o in there]
    return _nearest_option(wrong, others, rest)


def _settings(path: str) -> list[str]:
    """Return what a class can be told, also what it hands on to the classes it is made of."""
    kind: Any = locate(path)
    settings: list[str] = ArgumentParser().add_class_arguments(kind, fail_untyped=False)
    return settings


def _nearest_option(wrong: str, options: Sequence[str], rest: str) -> str:
    """Name the group of options that is meant, or else the option that ends nearest."""
    group, _, name = wrong.partition(".")
    groups = {option for option in options if "." not in option}
    if name and group not in groups and (meant := _closest(group, groups)):
        return f"; did you mean {_in_group(meant, name, options)!r}?"
    end = name.rpartition(".")[2] or group
    if (here := ELSEWHERE.get(end)) in options:
        return f"; did you mean {here!r}{', the rate of Adam' * (here == 'model.lr')}?"
    if end in ELSEWHERE:
        return rest  # the class that is chosen has nothing like it
    if end in NEEDLESS and "data" in groups:
        return NEEDLESS[end]
    # Of equals the first: `epochs` is as near to `min_epochs` as to `max_epochs`.
    ends = {option.rpartition(".")[2]: option for option in reversed(options)}
    nearness = {known: SequenceMatcher(None, end, known).ratio() for known in reversed(ends)}
    near = max(nearness, key=nearness.__getitem__, default="")
    return f"; did you mean {ends[near]!r}?" if nearness.get(near, 0) >= 0.75 else rest


def _instead(group: str, options: Iterable[str]) -> str:
    """Say what a value may be meant for that was given to a whole group of options."""
    if group in ELSEWHERE:
        return f"did you mean {ELSEWHERE[group]!r}?"
    settings = [o for o in options if o.startswith(f"{group}.") and not o.endswith(".help")]
    return shorten(f"there are {', '.join(settings)}.", 200)


def _in_group(group: str, name: str, options: Iterable[str]) -> str:
    """Return a setting by its name, or nearly, in the group that is meant; else the group."""
    known = {option.partition(".")[2] for option in options if option.startswith(f"{group}.")}
    # What stands behind a setting that takes a class is not among the options.
    near = name if name.partition(".")[0] in known else _closest(name, known)
    return f"{group}.{near}" if near else group


def _class_names() -> Iterator[str]:
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


def _about(kind: type) -> str:
    """Return a class's docstring without its arguments, which are listed one by one."""
    return ARGUMENTS.sub("", f"{getdoc(kind)}\n")


def _made_of(kind: type, option: str) -> str:
    """Return a line for each class derived from one, to be given in its place."""
    made = {other.__name__: str(getdoc(other)).partition("\n")[0] for other in _below(kind)}
    if not made:
        return ""
    width = max(map(len, made))
    lines = [f"  {name:<{width}}  {shorten(line, 100)}" for name, line in sorted(made.items())]
    return "\n".join(["", f"classes made of it, each told by `{option} NAME`:", *lines])


def _below(kind: type) -> Iterator[type]:
    """Yield the classes derived from one that can be made."""
    below: list[type] = kind.__subclasses__()
    for other in below:
        if not (isabstract(other) or other.__name__.startswith("_")):
            yield other
        yield from _below(other)


def check_made(config: Namespace) -> None:
    """Refuse an abstract class, which jsonargparse takes for a function that makes one.

    Raises:
        LabError: If there is one.
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
    """Return the settings of the classes that a configuration may name, as `model.lr`.

    Args:
        groups: The options that take classes, by the base of these; others stand behind no name.
    """
    for kind in _classes():
        group = next((name for base, name in groups.items() if issubclass(kind, base)), "")
        yield from (f"{group}.{name}" for name in signature(kind).parameters)
