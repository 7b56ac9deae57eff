"""Where a run goes on, where a new one begins, and what is never removed."""

import json
import shutil
import time
from contextlib import nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from going_on import STATE, last, rows, same

from vae_lab import runs
from vae_lab.callbacks import Pictures, record
from vae_lab.errors import LabError
from vae_lab.going_on import check_same, held
from vae_lab.models import VAE
from vae_lab.models.meter import Meter
from vae_lab.run_folder import run_folder
from vae_lab.training import Parser

FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=200",
    "--data.val_size=50",
    "--data.batch_size=50",
    "--model=VAE",
    "--model.encoder.hidden=[20]",
    "--model.decoder.hidden=[20]",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--pictures.kinds=[]",
]


@pytest.fixture
def run(lab, here):
    lab(*FIT, "--trainer.max_epochs=2")
    return Path("runs/run/version_0")


def test_a_checkpoint_of_somebody_else_begins_a_new_run_and_keeps_his_folder(run, lab, here):
    his = here / "home/checkpoints/last.ckpt"
    his.parent.mkdir(parents=True)
    (his.parent.parent / "thesis.tex").write_text("years of work")
    shutil.copy(run / "checkpoints/last.ckpt", his)
    with pytest.raises(SystemExit):
        lab(*FIT, "--trainer.max_epochs=3", "--data.val_size=0", f"--ckpt_path={his}")
    assert not (run.parent / "version_1").exists()
    lab(*FIT, "--trainer.max_epochs=3", f"--ckpt_path={his}")
    assert sorted(p.name for p in his.parent.parent.iterdir()) == ["checkpoints", "thesis.tex"]
    assert (run.parent / "version_1/checkpoints/best.ckpt").exists()


def test_a_new_run_that_would_not_be_trained_is_refused(run, lab, capfd):
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--trainer.max_epochs=2", "--name=other", f"--ckpt_path={run}")
    assert stop.value.code == 2
    assert "last.ckpt was at its end; a higher --trainer.max_epochs" in capfd.readouterr().err
    assert not Path("runs/other").exists()


def test_another_name_begins_a_new_run(run, lab):
    before = (run / "checkpoints/last.ckpt").read_bytes()
    lab(*FIT, "--trainer.max_epochs=3", "--name=other", f"--ckpt_path={run}")
    assert Path("runs/other/version_0/checkpoints/last.ckpt").exists()
    assert (run / "checkpoints/last.ckpt").read_bytes() == before


def test_what_a_run_went_on_from_first_stays_in_its_settings(run, lab):
    lab(*FIT, "--trainer.max_epochs=3", "--name=other", f"--ckpt_path={run}")
    began = runs.find("runs/other").config["ckpt_path"]
    assert began == str(run / "checkpoints/last.ckpt")
    lab(*FIT, "--trainer.max_epochs=4", "--name=other", "--ckpt_path=last")
    assert runs.find("runs/other").config["ckpt_path"] == began
    assert runs.find("runs/other").seen[0] == 4


def test_a_new_run_has_a_best_of_its_own_however_good_the_other_was(lab):
    falling = [*FIT, "--checkpoint.mode=max"]  # of a loss, so that no epoch is as good as before
    lab(*falling, "--trainer.max_epochs=2")
    lab(*falling, "--trainer.max_epochs=3", "--name=other", "--ckpt_path=runs/run")
    assert Path("runs/other/version_0/checkpoints/best.ckpt").exists()


def test_only_its_own_last_checkpoint_goes_on_with_a_run(here):
    run = Path("runs/run/version_0")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    assert run_folder(run.parent, run / "checkpoints/last.ckpt") == (run, False)
    for other in ("checkpoints/best.ckpt", "copies/last.ckpt", "last.ckpt"):
        folder, made = run_folder(run.parent, run / other)
        assert made, other
        folder.rmdir()


def test_the_best_score_survives_another_spelling_of_the_folder(run, lab, here):
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    (key,) = [k for k in state["callbacks"] if k.startswith("Best")]
    # A score that no further epoch can beat.
    state["callbacks"][key]["best_model_score"] = torch.tensor(-1e9)
    state["callbacks"][key]["kth_value"] = torch.tensor(-1e9)
    path = state["callbacks"][key]["best_model_path"]
    state["callbacks"][key]["best_k_models"] = {path: torch.tensor(-1e9)}
    torch.save(state, run / "checkpoints/last.ckpt")
    best = (run / "checkpoints/best.ckpt").read_bytes()
    lab(*FIT, "--trainer.max_epochs=3", f"--runs={here / 'runs'}", f"--ckpt_path={here / run}")
    assert (run / "checkpoints/best.ckpt").read_bytes() == best
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 2


def test_a_better_epoch_replaces_the_best_after_another_spelling(run, lab, here):
    best = (run / "checkpoints/best.ckpt").read_bytes()
    lab(*FIT, "--trainer.max_epochs=6", f"--runs={here / 'runs'}", f"--ckpt_path={here / run}")
    assert (run / "checkpoints/best.ckpt").read_bytes() != best
    assert runs.load_model(run)


def test_a_finished_run_stays_finished_and_time_adds_up(run, lab):
    before = json.loads((run / "run.json").read_text())
    with redirect_stderr(StringIO()) as said:
        lab(*FIT, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert f"nothing was trained, as {run}/checkpoints/last.ckpt was at its end" in said.getvalue()
    assert json.loads((run / "run.json").read_text()) == before
    # No checkpoint holds what came after the last one, nor when a run began.
    before |= {"seconds": 1000.0, "started": "2001-01-01 00:00:00"}
    (run / "run.json").write_text(json.dumps(before))
    with redirect_stderr(StringIO()) as said:
        lab(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert "nothing was trained" not in said.getvalue()
    after = json.loads((run / "run.json").read_text())
    assert after["seconds"] > before["seconds"]
    assert [after[key] for key in ("command", "started")] == [before["command"], before["started"]]


def test_what_a_killed_part_took_and_was_made_of_is_told(lab, monkeypatch):
    clock, fatal = SimpleNamespace(now=0.0, **vars(time)), {2}
    clock.time = lambda: clock.now

    def slow(self, trainer, pl_module):
        clock.now += 10
        if trainer.current_epoch in fatal:
            raise ZeroDivisionError

    monkeypatch.setattr(record, "time", clock)
    monkeypatch.setattr(Pictures, "on_train_epoch_end", slow)
    for part, source in enumerate(("0123", "0123", "4567")):
        monkeypatch.setattr(record, "commit", lambda source=source: source)
        with pytest.raises(ZeroDivisionError) if fatal else nullcontext():
            lab(*FIT, "--trainer.max_epochs=4", *["--ckpt_path=last"] * (part > 0))
        fatal = {3} if part == 0 else set()
    told = json.loads(Path("runs/run/version_0/run.json").read_text())
    # Four epochs led to these weights; two more were lost.
    assert told["seconds"] == 40
    assert told["commit"] == "0123, 4567"
    assert told["images_per_second"] == 20


@pytest.mark.parametrize(
    ("setting", "own"),
    [
        (["--model.lr=0.5"], "its own lr, 0.001; --model.lr 0.5 would be ignored"),
        (
            ["--model.schedule=ExponentialLR", "--model.schedule.gamma=0.5"],
            "its own schedule, None",
        ),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(run, lab, capfd, setting, own):
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--name=more", "--trainer.max_epochs=3", f"--ckpt_path={run}", *setting)
    assert stop.value.code == 2
    assert own in capfd.readouterr().err
    assert not Path("runs/more").exists()


def test_a_diverged_run_leaves_its_folder_to_be_looked_at(lab, here, capfd):
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--trainer.max_epochs=3", "--model.lr=1e9")
    assert stop.value.code == 2
    assert "finite" in capfd.readouterr().err
    assert (here / "runs/run/version_0/config.yaml").exists()


def test_images_taller_than_wide_reach_the_projector(lab):
    lab(*FIT, "--trainer.max_epochs=1", "--data.resize=[28,20]")
    assert runs.find("runs/run").path.joinpath("run.json").exists()


@pytest.mark.parametrize("size", [1, 2])
def test_too_few_validation_images_cost_a_picture_and_not_the_run(lab, size):
    few = [word for word in FIT if not word.startswith(("--data.val_size", "--pictures"))]
    lab(*few, "--trainer.max_epochs=1", f"--data.val_size={size}", "--model.latent_dim=5")
    assert "scatter" not in runs.find("runs/run").pictures
    assert "samples" in runs.find("runs/run").pictures


def test_a_meter_takes_up_where_it_stopped():
    meter, other = Meter(), Meter()
    meter.add({"loss": torch.tensor([1.0, 2.0])})
    other.load_state_dict(meter.state_dict())
    other.add({"loss": torch.tensor([6.0])})
    again = Meter()
    again.load_state_dict(other.state_dict())
    assert again.window() == other.window() == ({"loss": 9.0}, 3)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--model.beta=4", "was begun with model.beta 1.0, not 4.0"),
        ("--data.binarize=dynamic", "was begun with data.binarize"),
        ("--data.batch_size=16", "was begun with data.batch_size"),
        # Free bits, capacity and total correlation are of a whole batch of validation images.
        ("--data.eval_batch_size=50", "was begun with data.eval_batch_size"),
        ("--seed_everything=7", "was begun with seed_everything 0, not 7"),
        ("--trainer.precision=bf16-mixed", "with trainer.precision None, not bf16-mixed"),
        ("--trainer.gradient_clip_val=1", "with trainer.gradient_clip_val None, not 1"),
        ("--trainer.accumulate_grad_batches=2", "with trainer.accumulate_grad_batches 1, not 2"),
        ("--checkpoint.monitor=val/elbo", "with checkpoint.monitor val/loss, not val/elbo"),
        ("--trainer.check_val_every_n_epoch=2", "with trainer.check_val_every_n_epoch 1, not 2"),
        ("--checkpoint.mode=max", "with checkpoint.mode min, not max"),
    ],
)
def test_a_run_goes_on_as_the_experiment_that_it_began_as(run, lab, capfd, word, said):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last", word)
    assert stop.value.code == 2
    assert said in capfd.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "name",
    [
        *("overfit_batches", "limit_train_batches", "limit_val_batches", "val_check_interval"),
        *("gradient_clip_algorithm", "sync_batchnorm"),
    ],
)
def test_how_a_run_is_trained_stays_and_where_does_not(here, name):
    Path("config.yaml").write_text(f"{{trainer: {{{name}: 1}}, data: {{init_args: {{root: a}}}}}}")
    elsewhere = {"data": {"init_args": {"root": "b"}}, "runs": "c"}
    check_same(here, elsewhere | {"trainer": {name: 1, "devices": 2}})
    with pytest.raises(LabError, match=f"was begun with trainer.{name} 1, not 2"):
        check_same(here, elsewhere | {"trainer": {name: 2}})


def test_a_run_is_trained_by_one_process_at_a_time(run, lab, capfd):
    with held(run), pytest.raises(SystemExit) as stop:
        lab(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert stop.value.code == 2
    assert f"{run} is being trained by another process" in capfd.readouterr().err
    lab(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last")


def test_a_new_run_is_the_newest_by_its_number_where_an_older_one_was_removed(here):
    for number in (1, 10):
        Path(f"runs/run/version_{number}").mkdir(parents=True)
    assert run_folder(Path("runs/run"), None) == (Path("runs/run/version_11"), True)


@pytest.mark.parametrize("place", ["~/runs", "$SCRATCH/runs"])
def test_all_of_a_run_lies_where_a_shell_would_have_put_it(lab, here, monkeypatch, place):
    for name in ("HOME", "SCRATCH"):
        monkeypatch.setenv(name, str(here / "home"))
    (here / "runs.yaml").write_text(f"runs: {place}")
    lab(*FIT, "--trainer.max_epochs=1", "--config=runs.yaml", "--name=run")
    found = {path.name.partition(".")[0] for path in Path("home/runs/run/version_0").iterdir()}
    assert found >= {"checkpoints", "config", "events", "metrics", "run"}
    assert sorted(path.name for path in here.iterdir()) == ["home", "runs.yaml"]


@pytest.mark.parametrize("name", ["a/b", "..", "$HOME"])
def test_a_name_that_is_no_folder_s_is_refused(lab, here, capfd, name):
    with pytest.raises(SystemExit):
        lab(*FIT, f"--name={name}")
    assert "--name names one folder below --runs" in capfd.readouterr().err
    assert not [*here.iterdir()]


@pytest.mark.parametrize(
    "none", ["max_epochs=0", "max_steps=0", "limit_train_batches=0", "max_time=00:00:00:00"]
)
def test_no_epochs_steps_batches_or_time_are_refused(lab, here, capfd, none):
    with pytest.raises(SystemExit):
        lab(*FIT, f"--trainer.{none}")
    assert "nothing to train in 0 epochs, steps, batches or seconds: give" in capfd.readouterr().err
    assert not (here / "runs").exists()


def test_a_run_of_so_many_steps_goes_on_to_the_end_of_its_epochs(lab, here, monkeypatch):
    words = [*FIT, "--trainer.max_epochs=4", "--trainer.max_steps=1000"]
    lab(*words, "--name=whole")
    fatal = [2]

    def stop(self, trainer, pl_module):
        if trainer.current_epoch in fatal:
            raise ZeroDivisionError

    monkeypatch.setattr(Pictures, "on_train_epoch_start", stop, raising=False)
    with pytest.raises(ZeroDivisionError):
        lab(*words)
    fatal.clear()
    lab(*words, "--ckpt_path=last")
    assert same({k: last()[k] for k in STATE}, {k: last("whole")[k] for k in STATE})


def test_a_link_to_a_checkpoint_goes_on_in_the_runs_own_folder(run, lab, here):
    (here / "latest.ckpt").symlink_to(here / run / "checkpoints/last.ckpt")
    said = lab(*FIT, "--trainer.max_epochs=3", "--ckpt_path=latest.ckpt")
    assert f"run       {run.parent.parent.resolve() / 'run/version_0'}" in said or str(run) in said
    assert last()["epoch"] == 2
    assert sorted(path.name for path in here.iterdir()) == ["latest.ckpt", "runs"]


def test_weights_alone_are_nothing_to_go_on_from(lab, capfd):
    lab(*FIT, "--checkpoint.save_weights_only=true")
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--checkpoint.save_weights_only=true", "--ckpt_path=best")
    assert stop.value.code == 2
    assert "best.ckpt holds weights alone" in capfd.readouterr().err
    assert not Path("runs/run/version_1").exists()


@pytest.mark.parametrize("until", ["--trainer.max_epochs=2", "--trainer.max_steps=6"])
def test_a_schedule_may_wait_for_a_plateau_of_the_validation_loss(lab, here, until):
    never = {"patience": 0, "threshold": 1e9, "mode": "max"}
    words = [f"--model.schedule.{name}={value}" for name, value in never.items()]
    schedule = "--model.schedule=torch.optim.lr_scheduler.ReduceLROnPlateau"
    lab(*FIT, "--trainer.max_epochs=4", schedule, *words)
    assert last()["optimizer_states"][0]["param_groups"][0]["lr"] < 1e-3
    lab(*FIT, until, schedule, *words, "--name=parts")
    lab(*FIT, "--trainer.max_epochs=4", schedule, *words, "--name=parts", "--ckpt_path=last")
    assert same(last("parts")["lr_schedulers"], last()["lr_schedulers"])
    assert same(last("parts")["state_dict"], last()["state_dict"])


def test_a_plateau_is_one_of_validations_however_rare_they_are(lab, here):
    schedule = "--model.schedule=torch.optim.lr_scheduler.ReduceLROnPlateau"
    words = [schedule, "--model.schedule.patience=1", "--trainer.check_val_every_n_epoch=2"]
    lab(*FIT, "--trainer.max_epochs=5", *words)
    (seen,) = last()["lr_schedulers"]
    assert (seen["last_epoch"], seen["num_bad_epochs"]) == (2, 0)


def test_what_a_checkpoint_goes_on_after_is_in_the_curves_on_disk(stopped):
    found = []
    words = ["--trainer.max_epochs=2"]
    stopped(ZeroDivisionError, 4, lambda: (found.extend(rows()), 1 / 0), *words)
    assert found == rows() != []  # nothing waited for the end


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        ("checkpoints/.last.ckpt.123.part", False),
        ("pictures/.samples_0003.png.123.part", False),
        (".config.yaml.123.part", False),
        (".run.json.123.part", False),
        (".metrics.json.123.part", True),  # an evaluation's, which may be writing it
    ],
)
def test_what_was_being_written_at_a_kill_is_removed(run, file, kept):
    (run / file).parent.mkdir(exist_ok=True)
    (run / file).touch()
    with held(run):
        assert (run / file).exists() is kept


def test_settings_stay_while_those_of_a_run_that_goes_on_are_put_in_words(run, lab, monkeypatch):
    def stop(*given, **options):
        raise KeyboardInterrupt

    def begin(self):
        monkeypatch.setattr(Parser, "dump", stop)

    before = (run / "config.yaml").read_text()
    monkeypatch.setattr(VAE, "on_fit_start", begin)
    with pytest.raises(SystemExit):
        lab(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert (run / "config.yaml").read_text() == before
