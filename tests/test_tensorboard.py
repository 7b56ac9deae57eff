"""What TensorBoard is given: settings of every run, every picture, and codes it can project."""

import sys
from pathlib import Path

import pytest
from conftest import FIT
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from vae_lab import runs
from vae_lab.cli import main

EPOCHS = 12


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of a VAE's run of many pictures, and of a sparse autoencoder's of none."""
    folder = tmp_path_factory.mktemp("board")
    pictures = ["--pictures.kinds=[samples]", "--pictures.every=1"]
    vae = ["--name=vae", f"--trainer.max_epochs={EPOCHS}", "--model.beta=4", *pictures]
    ae = ["--name=ae", "--trainer.max_epochs=1", "--model=Autoencoder", "--pictures.kinds=[]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in ([*FIT, *vae], [*FIT, *ae, "--model.penalty=L1Sparsity"]):
            patch.setattr(sys, "argv", ["lab", *words])
            main(words)
    return folder / "runs"


def test_every_picture_is_at_its_step_and_as_on_disk(two):
    run = runs.find(two / "vae")
    events = EventAccumulator(str(run.path), size_guidance={"images": 0})
    events.Reload()
    images = events.Images("pictures/samples")
    assert [image.step for image in images] == list(run.epoch_ends.values())
    assert len(images) == EPOCHS
    for image, path in zip(images, run.drawn["samples"].values(), strict=True):
        assert image.encoded_image_string == path.read_bytes()
        assert (image.width, image.height) == Image.open(path).size


def experiment(folder):
    """Return what TensorBoard's table of hyperparameters makes of runs."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    backend = Context(TBContext(data_provider=provider))
    request = RequestContext()
    written = backend.hparams_metadata(request, "")
    return backend.experiment_from_metadata(request, "", True, written, []), written


def test_hyperparameters_of_all_runs_are_in_the_table(two):
    table, written = experiment(two)
    names = {info.name for info in table.hparam_infos}
    assert {"model/class", "model/beta", "data/class", "data/limit"} <= names
    assert any(name.startswith("model/penalty") for name in names)  # the autoencoder's
    metrics = {info.name.tag for info in table.metric_infos}
    assert {"val/elbo", "val/loss", "val/squared_error"} <= metrics
    assert {run: set(tags) for run, tags in written.items()} == {
        f"{name}/version_0": {"_hparams_/session_start_info", "_hparams_/session_end_info"}
        for name in ("vae", "ae")
    }


def test_a_run_that_is_cut_off_has_its_hyperparameters(lab):
    with pytest.raises(SystemExit):
        lab(*FIT, "--model.lr=1e9", "--trainer.max_epochs=3")
    table, written = experiment("runs")
    assert "model/lr" in {info.name for info in table.hparam_infos}
    assert [set(tags) for tags in written.values()] == [{"_hparams_/session_start_info"}]


def test_the_projector_finds_what_it_is_told_of(two):
    run = runs.find(two / "vae")
    config = text_format.Parse((run.path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (codes,) = config.embeddings
    tensors, labels = (
        Path(run.path / path).read_text().splitlines()
        for path in (codes.tensor_path, codes.metadata_path)
    )
    assert len(tensors) == len(labels) == 100
    assert {len(line.split("\t")) for line in tensors} == {2}
    side = codes.sprite.single_image_dim[0]
    assert Image.open(run.path / codes.sprite.image_path).size == (10 * side, 10 * side)
