"""Run folders and checkpoints: found, read, loaded, or refused in a sentence."""

import json
import os
import pickle
import zipfile

import lightning as L
import pytest
import torch

from vae_lab import checkpoints, runs
from vae_lab.errors import LabError
from vae_lab.run_folder import checkpoint_for

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"


class TinyModel(L.LightningModule):
    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        if size < 1:
            raise LabError("size is at least 1.")
        self.net = torch.nn.Linear(size, size)


class TinyData(L.LightningDataModule):
    def __init__(self, batch_size: int = 8) -> None:
        super().__init__()
        self.batch_size = batch_size


def settings(cls, **given):
    return {"_class_path": f"{__name__}.{cls.__name__}", "_instantiator": INSTANTIATOR, **given}


def content(size=3, **changes):
    return {
        "pytorch-lightning_version": L.__version__,
        "state_dict": TinyModel(size).state_dict(),
        "hyper_parameters": settings(TinyModel, size=size),
        "datamodule_hyper_parameters": settings(TinyData, batch_size=5),
        **changes,
    }


def make_run(path, *checkpoints, **changes):
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.yaml").write_text("model:\n  class_path: x.VAE\n  init_args:\n    beta: 2.0\n")
    for name in checkpoints:
        torch.save(content(**changes), path / "checkpoints" / f"{name}.ckpt")
    return path


def sentence(error):
    """Return an error's message, once sure that a user can read it."""
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_model_and_data_come_back_from_run_experiment_and_checkpoint(tmp_path):
    run = make_run(tmp_path / "vae" / "version_0", "best", "last")
    for path in (run, run.parent, run / "checkpoints" / "last.ckpt"):
        model, data = runs.load_model(path), runs.load_data(path)
        assert isinstance(model, TinyModel)
        assert model.net.in_features == 3
        assert not model.training
        assert model.hparams == settings(TinyModel, size=3)
        assert isinstance(data, TinyData)
        assert data.batch_size == 5


def test_settings_are_read_once_until_the_file_changes(tmp_path, monkeypatch):
    run = make_run(tmp_path / "vae" / "version_0", "best", epoch=3)
    path, reads, read = run / "checkpoints" / "best.ckpt", [], checkpoints.read
    monkeypatch.setattr(checkpoints, "read", lambda path: reads.append(path) or read(path))
    for epochs, size in ((4, 3), (8, 5)):
        checkpoints.settings_of(L.LightningModule, path)["size"] = "changed by whoever builds"
        assert runs.load_model(run).hparams["size"] == size
        assert runs.load_data(run).batch_size == 5
        assert checkpoints.epoch(path) == epochs
        torch.save(content(5, epoch=7), path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    assert reads == [path, path]


def test_best_is_preferred_unless_last_is_wanted(tmp_path):
    run = make_run(tmp_path / "vae" / "version_0", "best", "last")
    assert runs.checkpoint_of(run).name == "best.ckpt"
    assert runs.checkpoint_of(run, "last").name == "last.ckpt"
    assert runs.find(run / "checkpoints" / "last.ckpt").name == "vae/version_0"
    (run / "checkpoints" / "best.ckpt").unlink()
    assert runs.checkpoint_of(run).name == "last.ckpt"


@pytest.mark.parametrize(
    ("verb", "which"),
    [("fit", "last"), ("validate", "best"), ("test", "best"), ("predict", "best")],
)
def test_training_goes_on_from_the_last_weights_and_the_best_are_measured(tmp_path, verb, which):
    run = make_run(tmp_path / "vae" / "version_0", "best", "last")
    for path in (run, run.parent):
        found = checkpoint_for(verb, str(path), tmp_path / "other")
        assert found == run / "checkpoints" / f"{which}.ckpt"
    for name in ("best", "last"):
        assert checkpoint_for(verb, name, run.parent) == run / "checkpoints" / f"{name}.ckpt"


def test_find_takes_the_newest_version_by_number(tmp_path):
    for version in (10, 2, 9):
        make_run(tmp_path / "vae" / f"version_{version}")
    (tmp_path / "vae" / "version_11").mkdir()  # claimed, but nothing was written
    assert runs.find(tmp_path / "vae").name == "vae/version_10"
    assert [r.path.name for r in runs.find_all(tmp_path)] == [f"version_{v}" for v in (2, 9, 10)]


def test_find_takes_the_newest_of_named_versions_by_date(tmp_path):
    for age, version in enumerate(("b", "c", "a")):
        os.utime(make_run(tmp_path / "vae" / version), (age, age))
    make_run(tmp_path / "vae" / "version_7")  # whatever its date
    assert runs.find(tmp_path / "vae").name == "vae/a"


def test_what_is_missing_is_said_with_the_nearest_name(tmp_path):
    run = make_run(tmp_path / "vae_mnist" / "version_0", "last")
    with pytest.raises(LabError, match=r"did you mean .*vae_mnist\?") as error:
        runs.find(tmp_path / "vae_mnst" / "version_0")
    sentence(error)
    with pytest.raises(LabError, match=r"did you mean .*last\.ckpt\?"):
        runs.checkpoint_of(run / "checkpoints" / "lst.ckpt")
    with pytest.raises(LabError, match=r"There is no .*zzz\.$"):
        runs.find(tmp_path / "zzz")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("vae", "runs/vae"),
        ("vea/version_0", "runs/vae"),
        ("vae/version_1", "runs/vae/version_0"),
        ("vae.yaml", "experiments/vae.yaml"),
        ("cave.yaml", "experiments/cvae.yaml or experiments/vae.yaml"),
    ],
)
def test_what_is_named_without_its_folder_is_found_where_it_usually_lies(here, given, meant):
    make_run(here / "runs/vae/version_0")
    (here / "experiments").mkdir()
    for name in ("vae", "cvae"):
        (here / f"experiments/{name}.yaml").touch()
    with pytest.raises(LabError) as error:
        runs.check_exists(given)
    assert str(error.value) == f"There is no {given}; did you mean {meant}?"


def test_a_file_of_settings_is_no_run(tmp_path):
    path = tmp_path / "vae_mnist.yaml"
    path.write_text("model: VAE\n")
    with pytest.raises(LabError, match="holds settings, not a run; `lab fit --config") as error:
        runs.check([str(path)])
    sentence(error)
    runs.check_exists(str(path))


def test_a_pattern_stands_for_the_folders_it_matches_each_once(tmp_path):
    for run in ("vae/version_0", "vae/version_1", "vae_2d/version_0", "gan/version_0"):
        make_run(tmp_path / run, "last")
    (tmp_path / "vae_0.log").touch()  # as a sweep leaves beside its runs
    named = runs.named([f"{tmp_path}/vae*", f"{tmp_path}/gan"])
    assert named == [f"{tmp_path}/{name}" for name in ("vae", "vae_2d", "gan")]
    with pytest.raises(LabError, match="matches no run"):
        runs.named([f"{tmp_path}/*.log"])


def test_a_folder_of_experiments_is_said_to_be_one(tmp_path):
    make_run(tmp_path / "sweep" / "trial_0" / "version_0", "last")
    with pytest.raises(LabError, match=r"name one, such as .*trial_0\.$") as error:
        runs.find(tmp_path / "sweep")
    sentence(error)
    make_run(tmp_path / "vae" / "version_0")
    assert [run.name for run in runs.find_all(tmp_path)] == ["vae/version_0"]  # no trials beside it


def test_folders_without_runs_or_checkpoints_are_said_so(tmp_path):
    with pytest.raises(LabError, match="holds no run"):
        runs.find(tmp_path)
    run = make_run(tmp_path / "vae" / "version_0")
    with pytest.raises(LabError, match="no checkpoint yet"):
        runs.load_model(run)
    torch.save(content(), tmp_path / "alone.ckpt")
    with pytest.raises(LabError, match="does not lie in a run"):
        runs.find(tmp_path / "alone.ckpt")
    assert isinstance(runs.load_model(tmp_path / "alone.ckpt"), TinyModel)


@pytest.mark.parametrize("keep", [0, 3, 0.3, 0.99])
def test_truncated_checkpoint(tmp_path, keep):
    path = tmp_path / "a.ckpt"
    torch.save(content(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(LabError, match="cut short") as error:
        runs.load_model(path)
    sentence(error)


def test_a_single_wrong_byte_is_noticed(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(content(size=40), path)
    weights = torch.load(path)["state_dict"]["net.weight"].numpy().tobytes()
    whole = bytearray(path.read_bytes())
    whole[whole.index(weights) + 100] ^= 1
    path.write_bytes(whole)
    with pytest.raises(LabError, match="damaged"):
        runs.load_model(path)


class Crafted:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_crafted_pickle_is_refused_and_not_run(tmp_path):
    torch.save(content(extra=Crafted(tmp_path / "harm")), tmp_path / "zip.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Crafted(tmp_path / "harm")))
    with pytest.raises(LabError, match="refused") as error:
        runs.load_model(tmp_path / "zip.ckpt")
    sentence(error)
    with pytest.raises(LabError, match="no checkpoint"):
        runs.load_data(tmp_path / "plain.ckpt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyper_parameters": {}}, "names no model class: it was not written by vae_lab"),
        (
            {"hyper_parameters": {"_class_path": "a.B"}},
            "no model class: it was not written by vae_lab",
        ),
        (
            {"hyper_parameters": settings(TinyModel) | {"_class_path": "a.B"}},
            "a.B.*cannot be imported here",
        ),
        (
            {"hyper_parameters": settings(TinyModel) | {"_class_path": "vae_lab.x.B"}},
            "cannot be imported here",
        ),
        ({"hyper_parameters": settings(TinyData)}, "does not fit.*subclass of LightningModule"),
        ({"hyper_parameters": settings(TinyModel, _instantiator="os.system")}, "does not fit"),
        ({"hyper_parameters": settings(TinyModel, depth=3)}, "does not fit"),
        ({"hyper_parameters": settings(TinyModel, size=4)}, "does not fit"),
        ({"hyper_parameters": settings(TinyModel, size=0)}, "size is at least 1"),
        ({"state_dict": {}}, "does not fit"),
    ],
)
def test_foreign_checkpoint(tmp_path, changes, message):
    torch.save(content(**changes), tmp_path / "a.ckpt")
    with pytest.raises(LabError, match=message) as error:
        runs.load_model(tmp_path / "a.ckpt")
    sentence(error)


def test_a_model_that_learned_from_loaders_has_no_data(tmp_path):
    saved = content()
    del saved["datamodule_hyper_parameters"]
    torch.save(saved, tmp_path / "a.ckpt")
    assert isinstance(runs.load_model(tmp_path / "a.ckpt"), TinyModel)
    with pytest.raises(LabError, match="no data class: its model learned from others' data"):
        runs.load_data(tmp_path / "a.ckpt")


def test_files_of_others_are_no_checkpoints(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(LabError, match="not written by vae_lab"):
        runs.load_model(path)
    torch.save(torch.ones(3), path)
    with pytest.raises(LabError, match="not written by vae_lab"):
        runs.load_data(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(LabError, match="not written by vae_lab"):
        runs.load_model(path)
    path.write_text("hello")
    with pytest.raises(LabError, match="no checkpoint"):
        runs.load_model(path)


def test_unreadable_checkpoint(tmp_path):
    # Root may read any file, but a folder's bytes nobody.
    with pytest.raises(LabError, match="Cannot read"):
        checkpoints.load(L.LightningModule, tmp_path)


def test_config_scores_and_pictures(tmp_path):
    run = runs.find(make_run(tmp_path / "vae" / "version_0"))
    assert run.config["model"]["init_args"]["beta"] == 2
    assert run.scores == {}
    metrics = {"test/elbo": {"value": -90.5, "unit": "nats"}}
    report = {"protocol": {"test": {"seed": 0}}, "metrics": metrics}
    (run.path / "metrics.json").write_text(json.dumps(report))
    (run.path / "pictures").mkdir()
    for name in ("samples_0009", "samples_0010", "two_words_0001", "stray"):
        (run.path / "pictures" / f"{name}.png").touch()
    run = runs.find(run.path)
    assert run.scores == {"test/elbo": -90.5}
    assert run.evaluation == report
    found = {kind: path.name for kind, path in run.pictures.items()}
    assert found == {"samples": "samples_0010.png", "two_words": "two_words_0001.png"}


def test_curves_skip_empty_cells_and_a_row_that_was_cut_off(tmp_path):
    run = runs.find(make_run(tmp_path / "vae" / "version_0"))
    assert run.curves() == {}
    (run.path / "metrics.csv").write_text(
        "epoch,images,step,train/loss,val/loss\n"
        "0,100,1,5.0,\n0,200,2,4.0,\n0,200,2,,4.5\n1,300,3,nan,\n1,400,4,-10"
    )
    run = runs.find(run.path)
    assert (run.seen, run.epoch_ends) == ((2, 300), {1: 2, 2: 3})
    curves = run.curves()
    assert curves["val/loss"] == [(2, 4.5)]
    assert curves["train/loss"][:2] == [(1, 5.0), (2, 4.0)]
    assert len(curves["train/loss"]) == 3
    assert run.curves("images")["val/loss"] == [(200, 4.5)]


def test_curves_of_a_resumed_run_forget_what_was_lost(tmp_path):
    run = runs.find(make_run(tmp_path / "vae" / "version_0"))
    rows = [(1, 9), (2, 8), (3, 7), (2, 5), (3, 4)]
    (run.path / "metrics.csv").write_text("step,a\n" + "".join(f"{s},{v}\n" for s, v in rows))
    assert run.curves()["a"] == [(1, 9), (2, 5), (3, 4)]


@pytest.mark.parametrize(
    ("file", "text", "read"),
    [
        ("config.yaml", "a: [", lambda run: run.config),
        ("config.yaml", "hello", lambda run: run.config),
        ("metrics.json", '{"metrics"', lambda run: run.scores),
        ("metrics.json", '{"elbo": 3}', lambda run: run.scores),
        ("metrics.json", '{"protocol": {"seed": 0}, "metrics": {}}', lambda run: run.scores),
        ("metrics.csv", "step,a\n1,abc\n", lambda run: run.curves()),
        ("metrics.csv", "step,a\n1,2,3\n", lambda run: run.curves()),
    ],
)
def test_damaged_files_are_named(tmp_path, file, text, read):
    run = runs.find(make_run(tmp_path / "vae" / "version_0"))
    (run.path / file).write_text(text)
    with pytest.raises(LabError, match=file) as error:
        read(run)
    sentence(error)
