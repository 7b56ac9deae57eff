"""Short versions of jsonargparse's long error messages."""

import re
from collections.abc import Callable, Iterable
from operator import methodcaller
from textwrap import shorten

from vae_lab.parsing.classes import class_names
from vae_lab.parsing.suggestions import closest, instead, nearest_option, nearest_setting

__all__ = ["brief"]

OPTION = re.compile(r"(?:accept option '|unrecognized arguments: --)([\w.-]+)")
SETTING = re.compile(r"[Oo]ption '([\w.-]+)")
STRAY = re.compile(r"unrecognized arguments: ([-–—]?)([A-Za-z][\w.]*)")
FILE = re.compile(r"unrecognized arguments: ([^-\s]\S*\.ya?ml)")
VALUELESS = re.compile(r"argument (?:-\w/)?--(\S+): expected (?:at least )?one argument")
FILELESS = re.compile(r"Unable to load config '(.*?)'")
KEY = re.compile(r'Parser key "([\w.]+)"')
EXPECTED = re.compile(
    r"Expected a (?:<class '([\w.]+)'>|typing\.Literal\[(.+?)\]|tuple with (\d+) elements)"
)
# A part of other patterns.
GIVEN = r"(?:Got value|Given value): ([^\n]*?)(?:\. Got value|$)"

_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


def brief(
    message: str, options: Iterable[str] = (), nested: Iterable[str] = (), rest: str = "."
) -> str:
    """Summarise an error in one sentence, with a suggestion.

    Args:
        message: jsonargparse's message, which lists all types that it tried.
        options: Names of the accepted options.
        nested: Settings of classes, as `model.lr`, or `.lr` if no option takes the class.
        rest: End of the sentence if no known name is similar.
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
        return f"there is no setting {wrong[1]!r}{nearest_option(wrong[1], whole, rest)}"
    keys = ".".join(dict.fromkeys(KEY.findall(message)))
    if wrong := SETTING.search(message):
        name = ".".join(filter(None, (keys, wrong[1])))
        return f"there is no setting {name!r}{nearest_setting(name, message, nested, whole, rest)}"
    if bare := FILELESS.search(message):
        return f"{keys}: {bare[1]!r} is no file of settings; {instead(keys, whole)}"
    return f"{keys}: {_wrong(message)}" if keys else _wrong(message)


def _wrong(message: str) -> str:
    """Return the first rule's answer, or else the shortened message."""
    for pattern, answer in _RULES:
        if (found := pattern.search(message)) and (said := answer(found)):
            return said
    return shorten(KEY.sub("", message).lstrip(": "), 300)


def _no_class(found: re.Match[str]) -> str:
    name = found[1]
    if name in class_names():
        return f"{name} is of another kind than what goes there."
    near = closest(name, class_names())
    return f"there is no class {name!r}{f'; did you mean {near!r}?' if near else '.'}"


def _missing(found: re.Match[str]) -> str:
    names = re.sub(r"\b(fit|validate|test|predict)\.", "", found[1])
    hint = ": name an experiment by --config FILE" if "model" in names else ""
    return f"{names} must be given{hint}."


def _other_type(found: re.Match[str]) -> str:
    wanted = dict.fromkeys(_plain(*match) for match in EXPECTED.findall(found.string))
    wanted.pop("NoneType", None)
    return f"expected {' or '.join(wanted)}, not {found[1]!r}." if wanted else ""


def _plain(name: str, literals: str, length: str) -> str:
    if length:
        return f"a list of {length}"
    if name.endswith((".Sequence", "tuple")):
        return "a list in brackets"
    return name.rsplit(".", 1)[-1] if name else f"one of {literals}"


def _rule(pattern: str, answer: str | Callable[[re.Match[str]], str]) -> _Rule:
    """Compile a rule: a pattern, and its answer as a template or a function of the match."""
    made = methodcaller("expand", answer) if isinstance(answer, str) else answer
    return re.compile(pattern, re.MULTILINE | re.DOTALL), made


# The order matters: a message that lists several types may match several rules.
_RULES: list[_Rule] = [
    _rule(r"(\S+ stands there twice, again in line \d+\.)", r"\1"),
    _rule(
        r"(?:Not a valid subclass|is abstract|must include a class_path)"
        r".*?NestedArg\(key='([\w.]+)'",
        r"there is no class yet to take \1: name one before, or a --config FILE.",
    ),
    _rule(
        rf"\A(?=.*is abstract).*?{GIVEN}",
        r"\1 is abstract: name a class made of it.",
    ),
    _rule(
        r"Multiple subclasses with name (\w+)\. Give [^:]*: ([\w., ]+)\.",
        r"several classes are called \1: give one of \2.",
    ),
    _rule(r"Expected a dot import path string: (\S+)", _no_class),
    _rule(
        r"class_path '(([\w.]+?)(?:\.[\w.]+)?)':\s+"
        r"(?:No module named '\2'|module \S+ has no attribute)",
        _no_class,
    ),
    _rule(
        r"class_path '(\S+)':\s+No module named '(\S+)'",
        r"\1 cannot be imported: there is no module '\2'.",
    ),
    _rule(r"Expected '(\S+)' to be a subclass of <class '(\w+)'>", r"\1 is no \2."),
    _rule(rf"\A(?=.*does not correspond to a subclass of (\w+)).*?{GIVEN}", r"\2 is no \1."),
    _rule(r"arguments are required: ([\w., ]+)", _missing),
    _rule(GIVEN, _other_type),
    _rule(
        r"Errors:\s+- (?:Problem with given class_path \S+\s+)?([^\n]+)\n"
        r".*Given value: ([\w.]+\.\w+)\s*\Z",
        r"\2 cannot be used: \1.",
    ),
    _rule(
        r"Problems parsing config: .*line (\d+), column (\d+)",
        r"the configuration is not YAML at line \1, column \2.",
    ),
    _rule(
        r"\AUnexpected config:",
        "the configuration is empty, or is not made of `name: value` lines.",
    ),
]
