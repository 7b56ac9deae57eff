"""The command line `lab VERB ...`; heavy imports happen only when they are needed."""

import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import getdoc, signature
from pathlib import Path
from typing import Any

from vae_lab import __version__, outputs, process, runs
from vae_lab.errors import LabError, outgrown, unwrapped
from vae_lab.verbs import VERBS
from vae_lab.verbs.options import ends_in
from vae_lab.words import followed

__all__ = ["main"]

HELP = """\
lab: train, measure and look at small generative models

  lab fit --config experiments/vae_mnist.yaml    train; --model.latent_dim 2 overrides the file
  lab validate|test|predict --config FILE --ckpt_path CKPT

A run folder or a checkpoint is all that these need:
  lab sample RUN...      draw new images; --y 7 or --y all of a class, if it can be given one
  lab neighbours RUN     new images over the training images nearest to them
  lab transfer RUN       the styles of images under every class
  lab complete RUN       what is drawn given a part of an image
  lab reconstruct RUN    images and what is left of them after encoding
  lab gallery RUN...     both for several runs in one figure, and their scores in a table
  lab attribute RUN      images with more and less of an attribute; how often it was moved
  lab denoise RUN        images, the same corrupted, and what is restored
  lab filters RUN...     what the first layer of each encoder looks for
  lab traverse RUN...    move along one latent dimension at a time, runs side by side
  lab interpolate RUN    walk between the codes of two images
  lab manifold RUN       the whole plane of a two-dimensional code
  lab scatter RUN...     codes in the plane; --prior true for draws of the prior beside them
  lab encode RUN         codes and labels, to .npz
  lab invert RUN...      codes found by gradients through decoders; --images FILES or --data N
  lab export RUN         encoder and decoder as ONNX, for a browser or another program
  lab explore RUN        a page that draws any code's image in the browser; --serve shows it
  lab evaluate RUN       every number the model allows, each with its protocol
  lab compare RUN...     a table of runs; --html FILE for curves and pictures side by side

  lab sweep FILE         train all that a W&B sweep file describes, without W&B
  lab dashboard --wandb  the view of `lab compare` as a W&B workspace
  lab results [ROW...]   re-make the published table and its figures; --quick on embedded digits

`lab VERB --help` says more; `lab fit --model.help` lists the models, `lab fit --model.help VAE`
what one can be told, `lab fit --data.help` the data.
"""

LIGHTNING = ("fit", "validate", "test", "predict")
TORCHLESS = ("compare", "sweep", "dashboard", "results")
# Verbs for which an experiment's folder means all of its runs, not the newest.
EVERY_VERSION = ("filters",)

# Errors that no check foresees: even testing whether a file exists may be forbidden.
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EIO, errno.ENAMETOOLONG)

# Number of words that an annotation takes.
_COUNTS: dict[object, str] = {list[str]: "+", tuple[str, ...]: "*"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; exits with status 2 on bad input."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = argv[0] if argv else "--help"
    outputs.ready()
    if "" not in sys.path:
        # The working directory, for a user's own classes; last, so that it hides no library.
        sys.path.append("")
    try:
        _dispatch(verb, argv)
        sys.stdout.flush()  # while a failed write can still set the exit status
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        outputs.silence(sys.stdout, sys.stderr)  # the reader of the output has closed the pipe
        sys.exit(141)  # a shell's status of a command ended by a closed pipe
    except Exception as error:
        own = unwrapped(error)
        known = own if isinstance(own, LabError) else _refused(own) or outgrown(own)
        if (cause := known or outputs.unwritable(own)) is None:
            if own is error:
                raise
            raise own from own.__cause__ or own.__context__
        print(f"lab {verb}: {cause}", file=sys.stderr)
        sys.exit(2)


def _refused(error: BaseException) -> LabError | None:
    """Return the file that the system denied access to, if an error has one."""
    if isinstance(error, OSError) and error.filename and error.errno in _REFUSALS:
        return LabError(f"{error.filename} could not be used: {error.strerror}.")
    return None


def _dispatch(verb: str, argv: list[str]) -> None:
    if verb in ("-h", "--help", "help"):
        print(HELP, end="")
    elif verb == "--version":
        print(f"vae_lab {__version__}")
    elif verb in LIGHTNING:
        _check_files(argv)
        process.tune()
        process.load("vae_lab.training").run(argv)
    elif verb in VERBS:
        _call(verb, getattr(import_module(VERBS[verb]), verb), argv[1:])
    else:
        names = ["--help", "--version", *LIGHTNING, *VERBS]
        # A synonym such as `lab train`, unless it is a typing error.
        told = re.findall(rf"^  lab (\w+).* {re.escape(verb)}\b", HELP, re.MULTILINE)
        near = get_close_matches(verb, names, 1, 0.8) or told or get_close_matches(verb, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else "`lab --help` lists the verbs."
        raise LabError(f"there is no such verb; {hint}")


def _check_files(argv: list[str]) -> None:
    """Refuse a missing file before Lightning is imported."""
    for option, value in followed(argv):
        path = Path(os.path.expanduser(value))  # pathlib raises an error for an unknown home
        if option in ("--config", "--ckpt_path") and path.suffix in (".yaml", ".ckpt"):
            runs.check_exists(str(path))
        # Settings may be given in place of a file; they do not look like a file name.
        elif option == "--config" and re.fullmatch(r"[\w/-]+", value) and not path.exists():
            runs.check_exists(f"{path}.yaml")
            raise LabError(f"There is no {path}; did you mean {path}.yaml?")


def _call(verb: str, function: Callable[..., None], args: list[str]) -> None:
    """Call a verb after cheap checks, with torch imported if it needs it."""
    given = _parsed(verb, function, args)
    _check_outputs(function, given)
    if verb not in TORCHLESS:
        _check_runs(given, newest=verb not in EVERY_VERSION)
        process.tune()
        # These build a checkpoint's model.
        process.load("lightning.pytorch.cli")
    function(**given)


def _check_outputs(function: Callable[..., None], given: dict[str, Any]) -> None:
    """Refuse an output file with another suffix than the default one."""
    for name, option in signature(function).parameters.items():
        if isinstance(option.default, str) and (ending := Path(option.default).suffix):
            ends_in(ending, **{name: given[name]})


def _check_runs(given: dict[str, Any], newest: bool) -> None:
    """Refuse what is not a run, expand patterns, and print the version that a folder means."""
    runs.check([given["run"]] if "run" in given else given["runs"])
    if not newest:
        return
    if "runs" in given:
        given["runs"] = runs.named(given["runs"])
    for path in [given["run"]] if "run" in given else given["runs"]:
        _say_version(path)


def _say_version(path: str) -> None:
    """Print which of several versions an experiment's folder means."""
    if Path(path).is_dir() and (newest := runs.find(path)).path != Path(path):
        versions = [run for run in runs.find_all(path) if run.path.parent == newest.path.parent]
        if len(versions) > 1:
            print(f"{newest.path}, the newest of {len(versions)}", file=sys.stderr)


def _parsed(verb: str, function: Callable[..., None], args: list[str]) -> dict[str, Any]:
    """Parse the command line by the function's signature; a list takes all words it can."""
    from vae_lab.parsing import LabParser

    told = getdoc(function) or ""
    parser = LabParser(prog=f"lab {verb}", description=told.partition("\n\nArgs:")[0])
    # Annotations may be strings.
    parameters = signature(function, eval_str=True).parameters.values()
    kinds: dict[str, object] = {p.name: p.annotation for p in parameters}
    counts = {name: _COUNTS[kind] for name, kind in kinds.items() if kind in _COUNTS}
    files = {name for name, kind in kinds.items() if kind == list[str] | None}
    for name, count in counts.items():
        # Without a default, the help would show an optional list as required.
        optional: dict[str, Any] = {"default": []} if count == "*" else {}
        parser.add_argument(name, nargs=count, type=str, help=_about(name, told), **optional)
    skip: set[str | int] = {*counts, *files}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=skip)
    for name in files:
        parser.add_argument(f"--{name}", nargs="+", type=str, help=_about(name, told))
    args = [re.sub("^--[a-z-]+", _underscored, arg) for arg in args]
    # A shell does not expand `~` after an equals sign, where it can only mean the home folder.
    args = [re.sub("(?:^|(?<==))~(?=/)", lambda _: str(Path.home()), arg) for arg in args]
    flags = {f"--{name}" for name, kind in kinds.items() if kind is bool}
    given: dict[str, Any] = parser.parse_args(_switched(args, flags)).as_dict()
    return given


def _about(name: str, told: str) -> str:
    """Return the description of an argument in a docstring."""
    found = re.search(rf"^    {name}: (.*(?:\n {{8}}.*)*)", told, re.MULTILINE)
    return found[1] if found else ""


def _switched(args: list[str], flags: set[str]) -> list[str]:
    """Turn a switch on if it is given without a value."""
    bare = [
        arg in flags and after.lower() not in ("true", "false", "yes", "no")
        for arg, after in zip(args, [*args, ""][1:], strict=True)
    ]
    return [f"{arg}=true" if alone else arg for arg, alone in zip(args, bare, strict=True)]


def _underscored(option: re.Match[str]) -> str:
    return "--" + option[0][2:].replace("-", "_")
