"""Lightning's four verbs: LightningCLI, told where a run lives and who logs it."""

import logging
import warnings
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer import Trainer
from lightning_utilities.core.rank_zero import rank_zero_only

from vae_lab import runs
from vae_lab.callbacks import AtomicCheckpointIO, History, Pictures, Progress, Projector, Record
from vae_lab.callbacks.idle import NoProfiler, drop_idle_hooks
from vae_lab.data import ImageData
from vae_lab.files import atomic
from vae_lab.models import Model
from vae_lab.parsing import LabParser

__all__ = ["LabCLI", "run"]

QUIET = (
    "Checkpoint directory .* exists and is not empty",  # it is a run's that goes on
    ".*smaller than the logging interval",  # an epoch's end writes what is left of a window
    "The dirpath has changed",  # a model is measured outside the folder it was trained in
    ".*treespec",  # between Lightning and torch
)
DEFAULTS = Path(__file__).with_name("defaults.yaml")


class Parser(LabParser, LightningArgumentParser):
    """Lightning's parser with our errors."""


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
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Pictures, "pictures")
        parser.link_arguments("data.shape", "model.init_args.shape", apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Keep what the files and the command line say of the model.

        Lightning would let the checkpoint's settings override both, without a word.
        """

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        config.name = config.name or _experiment(config.get("config"))
        experiment = Path(config.runs) / config.name
        if config.ckpt_path is not None:
            config.ckpt_path = str(_checkpoint(experiment, config.ckpt_path, str(self.subcommand)))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config[self.subcommand]
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            self.folder = _run_folder(Path(config.runs) / config.name, config.ckpt_path)
        if hasattr(self, "folder") and config.trainer.logger is None:
            kwargs["logger"] = _loggers(self.folder, config.wandb)
        elif self.subcommand != "fit":
            kwargs["logger"] = False
        if config.trainer.plugins is None:
            kwargs["plugins"] = [AtomicCheckpointIO()]
        if config.trainer.profiler is None:
            kwargs["profiler"] = NoProfiler()
        self.trainer_defaults["callbacks"] = _callbacks(config.trainer.enable_progress_bar)
        trainer = super().instantiate_trainer(**kwargs)
        drop_idle_hooks([*trainer.callbacks, self.model])  # type: ignore[attr-defined]
        return trainer

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def fit(self, **kwargs: Any) -> None:
        """Train, and leave no folder behind if that is refused before it begins."""
        try:
            self.trainer.fit(**kwargs)
        except BaseException:
            if hasattr(self, "folder"):
                _remove_empty(self.folder)
            raise

    def after_fit(self) -> None:
        """Say where everything is."""
        if hasattr(self, "folder"):
            _report(self.folder)

    def after_validate(self) -> None:
        """Say what was measured."""
        for name, value in self.trainer.callback_metrics.items():
            print(f"{name:<22} {value:.4f}")

    after_test = after_validate

    def predict(self, **kwargs: Any) -> None:
        """Write the restored test images to `predictions.npz`."""
        batches = self.trainer.predict(**kwargs) or []
        restored = torch.cat([torch.as_tensor(batch) for batch in batches])
        with atomic("predictions.npz") as file:
            np.savez(file, x_hat=restored.float().numpy())
        print("predictions.npz")


def run(argv: list[str]) -> None:
    """Run one of Lightning's verbs; `argv` begins with its name."""
    _quieten()
    each = {"default_config_files": [str(DEFAULTS)]}
    LabCLI(
        Model,
        ImageData,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        parser_class=Parser,
        parser_kwargs={
            "prog": f"lab {argv[0]}",
            **{verb: {"prog": f"lab {verb}", **each} for verb in LabCLI.subcommands()},
        },
        # In a run of several processes each repeats the command line of the first.
        args=None if argv == _argv() else argv,
    )


def _argv() -> list[str]:
    import sys

    return sys.argv[1:]


def _quieten() -> None:
    """Silence what Lightning says of itself; what it says of a mistake still gets through."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in QUIET:
        warnings.filterwarnings("ignore", message)


def _experiment(configs: list[Any] | None) -> str:
    return Path(configs[-1].relative).stem if configs else "run"


def _checkpoint(experiment: Path, wanted: str, verb: str) -> Path:
    """Turn `last`, `best`, a run folder or a file into a checkpoint."""
    if wanted in ("last", "best"):
        return runs.checkpoint_of(experiment, cast(Literal["last", "best"], wanted))
    return runs.checkpoint_of(wanted, "last" if verb == "fit" else "best")


def _run_folder(experiment: Path, ckpt_path: str | None) -> Path:
    """Return the folder of the run that goes on, or make that of a new one."""
    if ckpt_path is not None and Path(ckpt_path).parent.name == "checkpoints":
        return Path(ckpt_path).parent.parent
    version = 0
    while True:
        folder = experiment / f"version_{version}"
        try:
            # Making the folder claims the number, also from runs that start this instant; in a
            # run of several processes only the first one's folder is ever written to.
            folder.mkdir(parents=True, exist_ok=not _first_process())
            return folder
        except FileExistsError:
            version += 1


def _first_process() -> bool:
    # Lightning keeps the rank as an attribute of its decorator.
    return bool(vars(rank_zero_only)["rank"] == 0)


def _remove_empty(folder: Path) -> None:
    for level in (folder, folder.parent, folder.parent.parent):
        if any(level.iterdir()):
            return
        level.rmdir()


def _loggers(folder: Path, wandb: str | None) -> list[Logger]:
    root, name, version = folder.parent.parent, folder.parent.name, folder.name
    # The first logger owns the run's folder.
    board = TensorBoardLogger(root, name, version, default_hp_metric=False)
    loggers: list[Logger] = [board, History(root, name, version)]
    if wandb is not None:
        loggers.append(_wandb(folder, offline=wandb == "offline"))
    return loggers


def _wandb(folder: Path, offline: bool) -> Logger:
    import wandb

    if not (offline or wandb.login(prompt=False, verify=False)):
        print(
            "lab fit: no W&B key on this machine, so W&B logs offline; `wandb sync` sends it later."
        )
        offline = True
    name = f"{folder.parent.name}/{folder.name}"
    mode = "offline" if offline else "online"
    return WandbLogger(name=name, save_dir=folder, project="vae_lab", mode=mode)


def _callbacks(progress_bar: bool | None) -> list[Callback]:
    # The best checkpoint is chosen by a metric, the last one is for going on after a stop.
    last = ModelCheckpoint(filename="last", enable_version_counter=False)
    bar = [] if progress_bar is False else [Progress()]
    return [last, Projector(), Record(), *bar]


@rank_zero_only
def _report(folder: Path) -> None:
    run = runs.Run(folder)
    print(f"run       {folder}")
    for metric, better in (("val/elbo", max), ("val/squared_error", min), ("val/loss", min)):
        if points := run.curves().get(metric):
            step, value = better(points, key=itemgetter(1))
            print(f"best      {metric} {value:.2f} at step {step:.0f}")
            break
    for picture in run.pictures.values():
        print(f"picture   {picture}")
    print(f"next      lab evaluate {folder}")
