"""The command line: what it refuses, and in how few words."""

import sys

import pytest

from vae_lab.cli import main

FIT = [
    "fit",
    "--data=Digits",
    "--data.limit=64",
    "--data.val_size=100",
    "--data.batch_size=32",
    "--model=VAE",
    "--model.latent_dim=2",
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAE_LAB_DATA", raising=False)
    return tmp_path


@pytest.fixture
def lab(here, monkeypatch, capfd):
    """Run the command line in this process, and return what it printed."""

    def run(*argv):
        argv = [str(word) for word in argv]
        monkeypatch.setattr(sys, "argv", ["lab", *argv])
        main(argv)
        return capfd.readouterr().out

    return run


@pytest.fixture
def refused(lab, here, capfd):
    """Run a command that must fail well, and return its one or two sentences."""

    def run(*argv):
        before = sorted(here.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            lab(*argv)
        message = capfd.readouterr().err.strip()
        assert stop.value.code == 2
        assert message.startswith("lab ")
        assert "\n" not in message
        assert len(message) < 450
        assert sorted(here.rglob("*")) == before
        return message

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model.latentdim=3", "no setting 'latentdim'; did you mean 'latent_dim'"),
        ("--trainer.max_epoch=3", "no setting 'trainer.max_epoch'; did you mean 'trainer.max_ep"),
        ("--data.batchsize=5", "did you mean 'batch_size'"),
        ("--model.encoder.hiden=[3]", "did you mean 'hidden'"),
        ("--bogus=1", "no setting 'bogus'"),
        ("--data.shape=3", "no setting 'shape'"),
        ("--model=VEA", "no class 'VEA'; did you mean 'VAE'"),
        ("--model=vae_lab.models.VEA", "did you mean 'VAE'"),
        ("--model=nowhere.Model", "no class 'nowhere.Model'"),
        ("--model=torch.nn.Linear", "torch.nn.Linear is no Model"),
        ("--model=Model", "model: "),
        ("--data=Digit", "did you mean 'Digits'"),
        ("--model.encoder=ConvEncodr", "did you mean 'ConvEncoder'"),
        ("--trainer.callbacks=Foo", "no class 'Foo'"),
        ("--model.latent_dim=two", "model.latent_dim: expected int, not 'two'"),
        ("--model.latent_dim=1.5", "model.latent_dim: expected int, not '1.5'"),
        ("--model.lr=fast", "model.lr: expected float"),
        ("--model.encoder.hidden=x", "model.encoder.hidden: expected Sequence, not 'x'"),
        ("--trainer.max_epochs=x", "trainer.max_epochs: expected int"),
        ("--trainer.precision=17", "trainer.precision: expected one of"),
        ("--data.binarize=dynamc", "data.binarize: expected one of 'none', 'threshold'"),
        ("--wandb=maybe", "wandb: expected one of 'offline', 'online'"),
        ("--seed_everything=x", "seed_everything: expected"),
        ("--model.schedule=StepLR", "model.schedule: step_size must be given"),
        ("--data.root", "expected one argument"),
        ("stray", "stray"),
    ],
)
def test_a_wrong_word_is_named(refused, words, message):
    assert message in refused(*FIT, words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {class_path: VAE, init_args: {latentdim: 3}}", "did you mean 'latent_dim'"),
        ("modle: {class_path: VAE}", "did you mean 'model'"),
        ("trainer: {max_epoch: 3}", "did you mean 'trainer.max_epochs'"),
        ("trainer: {max_epochs: x}", "trainer.max_epochs: expected int, not 'x'"),
        ("model: {class_path: VEA}", "did you mean 'VAE'"),
        ("model: [unclosed\n  a: b: c", "not YAML at line 2"),
        ("", "empty"),
        ("- a\n- b", "not made of `name: value` lines"),
        (b"\x86\xff\x00", "not text"),
        (None, "does not exist"),
    ],
)
def test_a_wrong_file_is_refused(refused, here, text, message):
    if text is not None:
        (here / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refused("fit", "--config=x.yaml", "--data=Digits")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fits"], "did you mean 'fit'"),
        (["frobnicate"], "`lab --help` lists"),
        (["fit"], "lab fit: data, model must be given"),
        (["fit", "--model=VAE"], "data must be given"),
        (["fit", "--data=Digits"], "model must be given"),
    ],
)
def test_a_command_without_what_it_needs(refused, words, message):
    assert message in refused(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model.latent_dim=0", "latent_dim"),
        ("--model.lr=-1", "learning rate"),
        ("--data.batch_size=5000", "only 64 training images"),
        ("--data.val_size=5000", "only 1500 images"),
        ("--data.resize=0", "resize must be 1 or more"),
        ("--pictures.kinds=[cats]", "No picture is called 'cats'"),
        ("--pictures.every=0", "every >= 1"),
        ("--last.minutes=0", "above 0"),
        ("--checkpoint.monitor=val/los", "could not find the monitored key"),
        ("--trainer.devices=0", "not a valid input"),
        ("--name=../elsewhere", "one folder"),
        ("--ckpt_path=last", "no run in runs/run yet"),
        ("--ckpt_path=nowhere.ckpt", "There is no nowhere.ckpt"),
        ("--ckpt_path=nowhere", "There is no nowhere"),
        ("--runs=/proc/runs", "could not be made"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(refused, words, message):
    assert message in refused(*FIT, words)


def test_nets_refuse_images_they_cannot_take(refused):
    tiny = ["--model.encoder=ConvEncoder", "--data.resize=2"]
    assert "at least 4 x 4" in refused(*FIT, *tiny)


def test_data_that_cannot_be_fetched_are_asked_for(refused):
    message = refused("fit", "--model=VAE", "--data=FreyFaces", "--data.root=nowhere")
    assert "put frey_rawface.mat" in message
    assert "into nowhere" in message


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_weights_that_nobody_trained_are_not_judged(refused, verb):
    assert "which weights?" in refused(verb, "--data=Digits", "--model=VAE")
