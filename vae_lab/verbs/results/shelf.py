"""Runs of rows, found by their settings, wherever and whenever they were made."""

import io
import json
import threading
import warnings
from collections.abc import Mapping, Set
from contextlib import redirect_stdout, suppress
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any

from vae_lab.errors import LabError
from vae_lab.files import digest
from vae_lab.runs import Run, checkpoint_of, expand
from vae_lab.verbs.comparing.settings import settings_of
from vae_lab.verbs.results.index import Index
from vae_lab.verbs.results.protocol import as_asked
from vae_lab.yaml_text import load_yaml

__all__ = ["Shelf", "damage"]

_ELSEWHERE = (
    *("data.root", "data.eval_batch_size", "last.minutes", "weights_only"),
    "checkpoint.save_on_train_epoch_end",  # every row is validated at that time
    *(
        f"trainer.{name}"
        for name in (
            *("accelerator", "devices", "num_nodes", "default_root_dir", "profiler", "plugins"),
            *("enable_progress_bar", "enable_model_summary", "enable_autolog_hparams"),
            *("log_every_n_steps", "model_registry", "barebones"),
        )
    ),
)
"""Settings of the machine and of what is shown, which leave a run the same experiment."""


class Shelf:
    """Finds the runs of rows, below one folder and among the records.

    Args:
        index: The rows, and the records of runs, whose weights may be deleted.
        root: The folder of the runs, which need not exist yet.
    """

    def __init__(self, index: Index, root: Path) -> None:
        self.index, self.root = index, root
        self._wanted: dict[str, dict[str, str]] = {}
        self._digests: dict[tuple[object, ...], str] = {}
        self._read: dict[tuple[object, ...], dict[str, str]] = {}
        self._lock = threading.RLock()
        self._runs: list[Run] = []
        self.look()

    def look(self) -> None:
        """Read which runs there are now."""
        with self._lock:
            records = _below(self.index.records) if self.index.records else []
            records.sort(key=lambda run: str(run.record.get("started") or ""))
            self._runs = [*records, *_below(self.root)]

    def words(self, name: str) -> list[str]:
        """Return a row's arguments of `lab fit`, without its seed and the runs that it needs."""
        files = [word for file in self.index.files(name) for word in ("--config", str(file))]
        return [*files, *self.index.rows[name].overrides]

    def fingerprint(self, name: str) -> str:
        """Return a digest of a row's current settings of training, evaluation and judge."""
        row = self.index.rows[name]
        with self._lock:
            own = {k: v for k, v in self._settings_of(name).items() if k not in row.needs}
        known = json.dumps([own, row.needs, row.evaluate, [*row.metrics]], sort_keys=True)
        return sha256(known.encode()).hexdigest()[:12]

    def find(self, name: str, seed: int, weights: bool = False) -> Run | None:
        """Return the run of a row and a seed, the newest measured one or else finished one.

        Args:
            name: The row.
            seed: The seed.
            weights: Whether it must have its weights, which a record has not.
        """
        runs = [run for run in self._of(name, seed) if not weights or _has_weights(run)]
        return max(
            reversed(runs),
            key=lambda run: (not damage(run), run.finished, self.evaluated(name, run)),
            default=None,
        )

    def first(self, name: str) -> Run | None:
        """Return the finished run of a row's first seed, with its weights, or None."""
        run = self.find(name, self.index.rows[name].seeds[0], weights=True)
        return run if run and run.finished else None

    def known(self, name: str) -> dict[str, Run]:
        """Return all finished runs of a row's first seed, by the digest of their weights."""
        runs = [run for run in self._of(name, self.index.rows[name].seeds[0]) if run.finished]
        return {weights: run for run in runs if (weights := self.weights(run))}

    def _of(self, name: str, seed: int) -> list[Run]:
        with self._lock:
            wanted = self._settings_of(name)
            return [run for run in self._runs if self._is(run, name, seed, wanted)]

    def evaluated(self, name: str, run: Run) -> bool:
        """Return whether a run has all numbers of its row, measured by the row's protocol."""
        return all(self.measured(name, run, key) for key in self.index.rows[name].metrics)

    def measured(self, name: str, run: Run, key: str) -> bool:
        """Return whether a run has a number by the row's protocol, of its current weights."""
        asked = self.index.rows[name].evaluate
        with suppress(LabError):  # a damaged evaluation has no numbers
            protocol = run.evaluation["protocol"].get("test", {})
            entry = run.evaluation["metrics"].get(f"test/{key}")
            if entry is None or protocol.get("checkpoint_sha256") != self.weights(run):
                return False
            return as_asked(key, entry, protocol, asked, self._judges(asked.get("judge"), run))
        return False

    def _judges(self, judge: object, run: Run) -> Set[str]:
        """Return the names that the judge may have in a run's evaluation.

        Each training of the judge is accepted, except that a run which can still be measured needs
        the judge that still exists.
        """
        if judge in self.index.rows:
            alive = self.first(str(judge)) if _has_weights(run) else None
            return {self.weights(alive) or ""} if alive else self.known(str(judge)).keys()
        if judge == "inception":
            return {"Inception"}
        with suppress(LabError):
            return {self._digest(checkpoint_of(str(judge)))} if judge else set()
        return set()

    def weights(self, run: Run) -> str | None:
        """Return the digest of a run's weights, from its evaluation if they are elsewhere."""
        with suppress(LabError):
            return self._digest(run.checkpoint())
        with suppress(LabError):
            known: str | None = run.evaluation["protocol"].get("test", {}).get("checkpoint_sha256")
            return known
        return None

    def _digest(self, path: Path) -> str:
        key = (path, *_looks(path))
        if key not in self._digests:
            self._digests[key] = digest(path)
        return self._digests[key]

    def _is(self, run: Run, name: str, seed: int, wanted: dict[str, str]) -> bool:
        # The batch size is that of one process: two see twice as many images per step.
        if run.record.get("processes", 1) != 1:
            return False
        with suppress(LabError):  # a damaged run belongs to no row
            needs = self.index.rows[name].needs
            own = self._settings(run)
            apart = {"seed_everything", *needs}
            if own.keys() != wanted.keys() and _agree(own, wanted, apart):
                # It may lack settings that exist today, which get their defaults.
                own = self._settings(run, today=True)
            return (
                own.get("seed_everything") == str(seed)
                and own.keys() == wanted.keys()
                and _agree(own, wanted, apart)
                # Last, as each needed row searches all runs again.
                and all(self._made_from(run, own[k], self.known(row)) for k, row in needs.items())
            )
        return False

    def _made_from(self, run: Run, checkpoint: str, sources: Mapping[str, Run]) -> bool:
        """Return whether a run started from the checkpoint of one of these, on any machine.

        A run without its digest is identified by the path in its settings.
        """
        if noted := run.record.get("source_sha256"):
            return noted in sources
        places = [source.path.resolve().parts[-2:] for source in sources.values()]
        return Path(checkpoint).parts[-4:-2] in places

    def _settings(self, run: Run, today: bool = False) -> dict[str, str]:
        """Return the settings that a run saved, optionally with defaults of later ones."""
        path = run.path / "config.yaml"
        key = (path, *_looks(path), today)
        if key not in self._read:
            # Read again, as a training may have been writing it the first time.
            config = _resolved(["--config", str(path)]) if today else Run(run.path).config
            self._read[key] = settings_of(config, _ELSEWHERE)
        return self._read[key]

    def _settings_of(self, name: str) -> dict[str, str]:
        if name not in self._wanted:
            needs = self.index.rows[name].needs.items()
            words = [*self.words(name), *(f"--{option}={self.root}/{row}" for option, row in needs)]
            try:
                self._wanted[name] = settings_of(_resolved(words), _ELSEWHERE)
            except LabError as error:
                raise LabError(f"row {name}: {error}") from error
        return self._wanted[name]


def damage(run: Run) -> str:
    """Return what is wrong with a run's files; empty if they can be read."""
    try:
        _ = run.evaluation, run.epoch_ends
    except LabError as error:
        return str(error)
    return ""


def _below(folder: Path) -> list[Run]:
    """Return the runs anywhere below a folder; none if it does not exist."""
    with suppress(LabError):
        return expand([f"{escape(str(folder))}/**"])
    return []


def _has_weights(run: Run) -> bool:
    with suppress(LabError):
        return run.checkpoint().is_file()
    return False


def _agree(own: dict[str, str], wanted: dict[str, str], apart: set[str]) -> bool:
    """Return whether settings that both have are equal, apart from those compared elsewhere."""
    return all(own[key] == wanted[key] for key in own.keys() & wanted.keys() - apart)


def _looks(path: Path) -> tuple[int, int]:
    """Return a file's modification time and its size, as several writes may share a time."""
    found = path.stat() if path.exists() else None
    return (found.st_mtime_ns, found.st_size) if found else (0, 0)


def _resolved(words: list[str]) -> dict[str, Any]:
    """Return the complete configuration of these arguments of `lab fit`.

    Raises:
        LabError: If they are invalid.
    """
    from vae_lab.training import run

    said = io.StringIO()
    with redirect_stdout(said), suppress(SystemExit), warnings.catch_warnings():
        # Lightning reads the command line, which here is another command's.
        warnings.simplefilter("ignore")
        run(["fit", *words, "--print_config"])
    return dict(load_yaml(said.getvalue()))
