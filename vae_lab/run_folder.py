"""The folder of a new or resumed run: its name, its number, and its removal if refused."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, cast

from lightning_utilities.core.rank_zero import rank_zero_only

from vae_lab import runs
from vae_lab.errors import Diverged, LabError
from vae_lab.files import expanded

__all__ = [
    "checkpoint_for",
    "experiment_name",
    "first_process",
    "removed_if_refused",
    "run_folder",
]


def experiment_name(wanted: str | None, configs: list[Any] | None) -> str:
    """Return the experiment's name: `wanted`, or the joined names of the configuration files.

    Raises:
        LabError: If `wanted` is not the name of a folder.
    """
    files = [path for path in configs or () if path is not None]
    name = wanted or "_".join(Path(file.relative).stem for file in files) or "run"
    # Some of the libraries that write there expand `~` and `$HOME`, and others do not.
    if name != Path(name).name or name == ".." or str(expanded(name)) != name:
        raise LabError(f"--name names one folder below --runs; {name!r} is none.")
    return name


def checkpoint_for(verb: str, wanted: str | None, experiment: Path) -> Path | None:
    """Resolve `last`, `best`, a run folder or a file to the checkpoint that a verb begins with.

    Raises:
        LabError: If there is none, or it is missing for another verb than `fit`.
    """
    if wanted is None and verb != "fit":
        raise LabError("which weights? Add --ckpt_path best, a run folder or a checkpoint.")
    if wanted is None:
        return None
    if wanted not in ("last", "best"):
        return runs.checkpoint_of(wanted, "last" if verb == "fit" else "best")
    if not experiment.is_dir():
        raise LabError(f"there is no run in {experiment} yet, so no {wanted} checkpoint either.")
    return runs.checkpoint_of(experiment, cast(Literal["last", "best"], wanted))


def run_folder(experiment: Path, checkpoint: Path | None) -> tuple[Path, bool]:
    """Return the folder of the run that is resumed, or make a new one, and whether it is new.

    Its own last checkpoint resumes a run; any other begins a new one. Of several processes only
    the first makes the folder, as it alone writes there; the others get a placeholder.

    Raises:
        LabError: If the folder cannot be made, or what writes there could not name it.
    """
    if not _is_text(experiment):
        raise LabError(
            f"{experiment} has letters that this locale does not know: set PYTHONUTF8=1."
        )
    if checkpoint is not None and _goes_on(experiment, checkpoint):
        # Its own folder, also where the checkpoint is a link to it.
        return experiment / checkpoint.resolve().parent.parent.name, False
    if not first_process():
        # Processes of other machines may come here before the first one does.
        return experiment / "version_0", True
    version = _unused(experiment)
    while True:
        folder = experiment / f"version_{version}"
        try:
            # Making the folder claims the number against runs that start at the same time.
            folder.mkdir(parents=True)
            return folder, True
        except FileExistsError:
            version += 1
        except OSError as error:
            raise LabError(f"{folder} could not be made: {error.strerror}.") from error


@contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """Remove a new run that ends before its first checkpoint.

    It would otherwise be the newest version, instead of the last one that trained.
    """
    try:
        yield
    except Diverged:
        raise
    except BaseException:
        if first_process() and not any(folder.glob("checkpoints/*.ckpt")):
            # If the disk has become read-only, the first error is reported.
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(folder.parent, folder.parent.parent)
        raise


def _is_text(path: Path) -> bool:
    """Tell whether a path is text, which TensorBoard asks of it; the system asks for bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unused(experiment: Path) -> int:
    """Return the number after the highest; one in a gap would not be the newest version."""
    numbers = map(runs.version_of, experiment.glob("version_*"))
    return max((number for number in numbers if number is not None), default=-1) + 1


def _goes_on(experiment: Path, checkpoint: Path) -> bool:
    folder = checkpoint.resolve().parent.parent
    ours = checkpoint.resolve() == folder / "checkpoints" / "last.ckpt"
    return ours and folder.parent == experiment.resolve() and (folder / "config.yaml").is_file()


def first_process() -> bool:
    """Return whether this process is the one that writes, over all machines."""
    # Lightning stores the rank as an attribute of its decorator, once imported.
    return bool(vars(rank_zero_only).get("rank", 0) == 0)


def _remove_empty(*folders: Path) -> None:
    with suppress(OSError):  # stops at the first that is not empty, or may not be removed
        for folder in folders:
            folder.rmdir()
