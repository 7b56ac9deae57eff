"""Lightning's four verbs: LightningCLI, told where a run lives and who logs it."""

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from glob import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from jsonargparse import Namespace, dict_to_namespace
from lightning import LightningModule
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.trainer import Trainer
from lightning_utilities.core.enums import StrEnum
from lightning_utilities.core.rank_zero import rank_zero_only

from vae_lab import runs
from vae_lab.callbacks import (
    AtomicCheckpointIO,
    Best,
    Last,
    Monitors,
    Pictures,
    Progress,
    Projector,
    Record,
)
from vae_lab.callbacks.attached import attached
from vae_lab.callbacks.finders import drop_finders, keep_found, note_found
from vae_lab.callbacks.idle import NoProfiler, drop_idle_hooks
from vae_lab.callbacks.last import out_of_time
from vae_lab.checkpoints import folder_of, read
from vae_lab.compiling import compile_networks
from vae_lab.data import ImageData
from vae_lab.endings import EndingLoop, disk, quiet_board, quieten, sentences, stopping
from vae_lab.errors import LabError
from vae_lab.evaluations import forget_outdated
from vae_lab.files import atomic, expanded, write_text
from vae_lab.going_on import check_same, held
from vae_lab.loggers import loggers
from vae_lab.models import Model
from vae_lab.parsing import LabParser, check_made, parameters
from vae_lab.run_folder import (
    checkpoint_for,
    experiment_name,
    first_process,
    removed_if_refused,
    run_folder,
)
from vae_lab.yaml_text import load_yaml

__all__ = ["LabCLI", "run"]

_STARTS = ("encoder", "gan")  # settings that name the model which another one starts from
DEFAULTS = Path(__file__).with_name("defaults.yaml")

# Of Lightning's words, such as Timer's `step`, jsonargparse's way of dumping knows nothing.
yaml.SafeDumper.add_multi_representer(
    StrEnum, lambda dumper, word: dumper.represent_str(word.value)
)


class Parser(LabParser, LightningArgumentParser):
    """Lightning's parser with our errors."""

    def nested(self) -> Iterable[str]:
        return parameters({Model: "model", ImageData: "data"})


class SaveConfig(SaveConfigCallback):
    """Saves the configuration when a run begins to train; until then it may be refused."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write nothing yet: a resumed run keeps its configuration until it trains."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Without loggers there is no run, and the folder is the user's own. To ask for a run's
        # folder is a collective call, so every rank has to ask.
        folder = trainer.log_dir if trainer.loggers else None
        if folder is not None and trainer.is_global_zero:
            note_found(self.config, trainer, pl_module)
            # Lightning empties the file before it knows what to write.
            write_text(Path(folder, "config.yaml"), self.parser.dump(self.config, skip_none=False))


class LabCLI(LightningCLI):
    """LightningCLI over our models and data, with a run folder for each fit."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--name", type=str | None, help="Name of the experiment (default: the file's)."
        )
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
        parser.add_argument(
            "--wandb",
            type=Literal["offline", "online"] | None,
            help="Log to Weights & Biases too; without a key, online becomes offline.",
        )
        parser.add_argument(
            "--compile",
            type=bool,
            default=False,
            help="Compile the networks by torch.compile: minutes at the start, for a GPU.",
        )
        parser.add_argument(
            "--weights",
            type=str | None,
            help="A run or checkpoint whose weights the model begins with, all else anew; "
            "of the same networks, for another objective or other images.",
        )
        parser.add_lightning_class_args(Best, "checkpoint")
        # After the best one, whose score it has to remember.
        parser.add_lightning_class_args(Last, "last")
        parser.add_lightning_class_args(Pictures, "pictures")
        parser.link_arguments("data.shape", "model.init_args.shape", apply_on="instantiate")

    def _set_seed(self) -> None:
        seed = self.config[self.subcommand].seed_everything
        if not 0 <= seed < 2**32:
            raise LabError(f"--seed_everything is from 0 to {2**32 - 1}; got {seed}.")
        super()._set_seed()

    def _parse_ckpt_path(self) -> None:
        """Keep what the files and the command line say of the model.

        Lightning would let the checkpoint's settings override both, without a word.
        """

    def before_instantiate_classes(self) -> None:
        verb, config = str(self.subcommand), self.config[self.subcommand]
        check_made(config)
        config.name = experiment_name(config.name, config.get("config"))
        self.experiment = expanded(config.runs) / config.name
        self.checkpoint = checkpoint_for(verb, config.ckpt_path, self.experiment)
        config.ckpt_path = self.checkpoint and str(self.checkpoint)
        if verb != "fit":
            self.save_config_callback = None
        elif self.checkpoint and config.weights and not _begun(self.checkpoint).get("weights"):
            raise LabError("--ckpt_path goes on with its own weights: leave out --weights.")

    def instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        with _settled(config, self.checkpoint) as self.source:
            super().instantiate_classes()
        if config.weights and not self.checkpoint:
            self.model.begin_with(read(Path(config.weights)))
        if config.compile:
            compile_networks(self.model)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config[self.subcommand]
        if str(config.trainer.precision) in ("16", "16-mixed"):
            # On a CPU Lightning would make it bf16-mixed before the model hears of it.
            self.model.check_precision("16-mixed")
        if config.trainer.logger in (None, True):
            # A run's own loggers wait for its folder.
            kwargs["logger"] = False
        if self.checkpoint:
            # Lightning's sanity check could change the state that a run is resumed with.
            kwargs["num_sanity_val_steps"] = 0
        if config.trainer.plugins is None:
            kwargs["plugins"] = [AtomicCheckpointIO()]
        if config.trainer.profiler is None:
            kwargs["profiler"] = NoProfiler()
        own = [Monitors(), Projector(), Record(self.source), *self._bar()]
        self.trainer_defaults["callbacks"] = own
        trainer = super().instantiate_trainer(**kwargs)
        if self.checkpoint:
            drop_finders(trainer)
        drop_idle_hooks([*attached(trainer), self.model])
        return trainer

    def _bar(self) -> list[Progress]:
        """Return our progress bar, unless there is to be none or a user's own: only one may be."""
        told = self._get(self.config_init, "trainer.callbacks") or []
        theirs = any(
            isinstance(c, ProgressBar) for c in (told if isinstance(told, list) else [told])
        )
        wanted = self.config[self.subcommand].trainer.enable_progress_bar is not False
        return [Progress()] if wanted and not theirs else []

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        # What was measured is said by `after_validate`.
        quiet = {"verbose": False} if subcommand in ("validate", "test") else {}
        return super()._prepare_subcommand_kwargs(subcommand) | quiet | {"weights_only": True}

    def fit(self, **kwargs: Any) -> None:
        """Train in a folder of its own, unless Lightning is told to log nothing."""
        config = self.config[self.subcommand]
        if config.trainer.fast_dev_run or config.trainer.logger is False:
            self.trainer.fit(**kwargs)
            return
        before, stopped = self._begun_at()
        asked = config.trainer
        limits = (asked.max_epochs, asked.max_steps, asked.limit_train_batches)
        if 0 in limits or out_of_time(self.trainer):
            raise LabError(
                "there is nothing to train in 0 epochs, steps, batches or seconds: give more."
            )
        folder, made = run_folder(self.experiment, self.checkpoint)
        if not made:
            parser = self._parser(self.subcommand)
            now, begun = load_yaml(parser.dump(config, skip_none=False)), runs.Run(folder)
            check_same(folder, now)
            # The configuration that is saved there begins the run, it does not go on with it.
            config.ckpt_path = begun.config.get("ckpt_path")
            stopped &= self._would_stop_again(now, begun)
            EndingLoop.replace(self.trainer, stopped, begun.finished)
        refused = removed_if_refused(folder) if made else nullcontext()
        with held(folder), refused, stopping(folder), disk(folder), quiet_board():
            # A user's own log beside those of the run.
            self.trainer.loggers = [*loggers(folder, config.wandb), *self.trainer.loggers]
            try:
                self.trainer.fit(**kwargs)
            finally:
                if first_process():
                    forget_outdated(folder)
            idle = self.trainer.global_step == before
            why = f"{self.checkpoint} was at its end; {_longer(self.trainer)} goes on."
            if idle and made and first_process():
                raise LabError(why)
        if idle:
            _say_idle(why)
        _report(folder, [c for c in self.trainer.checkpoint_callbacks if isinstance(c, Best)])

    def _would_stop_again(self, now: dict[str, Any], begun: runs.Run) -> bool:
        """Return whether what stopped a run would have stopped an unbroken one there too.

        With other callbacks it may train on; and so may a finished run that something else than
        EarlyStopping has stopped.
        """
        told = begun.config.get("trainer", {}).get("callbacks")
        known = not begun.finished or bool(self.trainer.early_stopping_callbacks)
        return known and bool(now["trainer"]["callbacks"] == told)

    def _begun_at(self) -> tuple[int | None, bool]:
        """Return the step of the checkpoint to go on from, and whether training was to stop there.

        A checkpoint that does not fit is refused here, before files are written.

        Raises:
            LabError: If no training goes on from it, or its weights do not fit.
        """
        if self.checkpoint is None:
            return None, False
        saved = read(self.checkpoint)
        if "optimizer_states" not in saved:
            raise LabError(
                f"{self.checkpoint} holds weights alone, from which no training goes on: "
                "name the run's last.ckpt."
            )
        self.model.on_load_checkpoint(saved)
        return saved["global_step"], saved.get("should_stop", False)

    @rank_zero_only
    def after_validate(self) -> None:
        """Say what was measured."""
        for name, value in self.trainer.callback_metrics.items():
            print(f"{name:<22} {value:.4f}")

    after_test = after_validate

    def predict(self, **kwargs: Any) -> None:
        """Write the restored test images to `predictions.npz`."""
        if self.trainer.world_size > 1:
            raise LabError("each process would write its own share: predict on one device.")
        batches = self.trainer.predict(**kwargs) or []
        restored = torch.cat([torch.as_tensor(batch) for batch in batches])
        with atomic("predictions.npz") as file:
            np.savez(file, x_hat=restored.float().numpy())
        print("predictions.npz")


def run(argv: list[str]) -> None:
    """Run one of Lightning's verbs; `argv` begins with its name."""
    quieten()
    with sentences():
        _cli(argv[0])(
            Model,
            ImageData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            parser_class=Parser,
            parser_kwargs={
                "prog": "lab",
                # A path is taken for a pattern.
                argv[0]: {"default_config_files": [escape(str(DEFAULTS))]},
            },
            # In a run of several processes each repeats the command line of the first.
            args=None if argv == sys.argv[1:] else argv,
        )


def _cli(verb: str) -> type[LabCLI]:
    """Return a command line of one verb; the parsers of all four take a fifth of a second."""
    only = {verb: LightningCLI.subcommands()[verb] | {"verbose"}}
    return type("LabCLI", (LabCLI,), {"subcommands": staticmethod(lambda: only)})


@contextmanager
def _settled(config: Namespace, checkpoint: Path | None) -> Iterator[Path | None]:
    """Find the checkpoint that a model starts from, yield it, and put its path into config.yaml.

    The path says which version it was, as a run's newest may change. A resumed model has what it
    started from in its own checkpoint: it starts from no other, and keeps the path noted then.
    """
    arguments = config.model.init_args
    keys = [key for key in _STARTS if isinstance(arguments.get(key), str)]
    if checkpoint is None:
        source = None
        places = [(arguments, key) for key in keys] + [(config, "weights")] * bool(config.weights)
        for place, key in places:
            source = runs.checkpoint_of(place[key]).absolute()
            place[key] = str(source)
        yield source
        return
    begun = _begun(checkpoint)
    config.weights = begun.get("weights")
    keep_found(config, begun)
    noted = {key: arguments[key] for key in keys} | begun.get("model", {}).get("init_args", {})
    for key in keys:
        arguments[key] = str(checkpoint)
    yield None
    for key in keys:
        began = noted[key]
        arguments[key] = dict_to_namespace(began) if isinstance(began, dict) else began


def _begun(checkpoint: Path) -> dict[str, Any]:
    """Return the settings that the run of a checkpoint began with."""
    # The path may be a link to a run's checkpoint, or a run's checkpoint a link to elsewhere.
    places = map(folder_of, (checkpoint.resolve(), checkpoint))
    return next(filter(None, (runs.Run(place).config for place in places)), {})


def _longer(trainer: Trainer) -> str:
    """Say which change would let a run train on that had nothing left to train."""
    if out_of_time(trainer):
        return "a longer --trainer.max_time, which counts from the run's beginning,"
    if trainer.should_stop:
        return "without EarlyStopping, or what else ended it, or with more patience, it"
    limit = "steps" if trainer.global_step == trainer.max_steps else "epochs"
    return f"a higher --trainer.max_{limit}"


@rank_zero_only
def _say_idle(why: str) -> None:
    print(f"lab fit: nothing was trained, as {why}", file=sys.stderr)


@rank_zero_only
def _report(folder: Path, chosen: list[Best]) -> None:
    run = runs.Run(folder)
    print(f"run       {folder}")
    for best in filter(None, (_best(run, callback) for callback in chosen)):
        print(f"best      {best}")
    for picture in run.pictures.values():
        print(f"picture   {picture}")
    # Adversarial models have no loss to choose by, and a GAN cannot be evaluated without a judge.
    unscored = any(callback.monitor is None for callback in chosen)
    print(f"next      lab {'sample' if unscored else 'evaluate'} {folder}")


def _best(run: runs.Run, chosen: Best) -> str:
    """Say at which step the metric was best that chose the checkpoint, and the ELBO there."""
    if chosen.best_model_score is None:
        return ""
    score, curves = float(chosen.best_model_score), run.curves()
    # The curve's own best may be of another objective, see `Best`.
    points = curves.get(chosen.monitor or "", ())
    steps = [step for step, value in points if math.isclose(value, score, rel_tol=1e-6)]
    if not steps:
        return ""
    elbo = dict(curves.get("val/elbo", ())).get(steps[0])
    beside = "" if elbo is None or chosen.monitor == "val/elbo" else f"; val/elbo {elbo:.5g}"
    return f"{chosen.monitor} {score:.5g} at step {steps[0]:.0f}{beside}"
