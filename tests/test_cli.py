"""The command line: what it refuses, and in how few words."""

import os
import shutil
import subprocess
import sys
from functools import wraps
from importlib import import_module
from inspect import signature

import pytest
import torch
import yaml
from conftest import FIT

from vae_lab import cli, training
from vae_lab.verbs import VERBS


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
        ("--model.latentdim=3", "'model.latentdim'; did you mean 'model.latent_dim'"),
        ("--trainer.max_epoch=3", "no setting 'trainer.max_epoch'; did you mean 'trainer.max_ep"),
        ("--data.batchsize=5", "did you mean 'data.batch_size'"),
        ("--model.encoder.hiden=[3]", "did you mean 'model.encoder.hidden'"),
        ("--bogus=1", "no setting 'bogus'; `lab fit --help` lists them."),
        ("experiments/x.yaml", "did you mean --config experiments/x.yaml?"),
        ("--data.shape=3", "no setting 'data.shape'"),
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
        ("--model.encoder.hidden=x", "model.encoder.hidden: expected a list in brackets, not 'x'"),
        ("--trainer.max_epochs=x", "trainer.max_epochs: expected int"),
        ("--trainer.precision=17", "trainer.precision: expected one of"),
        ("--data.binarize=dynamc", "data.binarize: expected one of 'none', 'threshold'"),
        ("--wandb=maybe", "wandb: expected one of 'offline', 'online'"),
        ("--seed_everything=x", "seed_everything: expected"),
        ("--model.schedule=StepLR", "model.schedule: step_size must be given"),
        ("--data.root", "--data, or a setting behind it, lacks its value"),
        ("stray", "stray"),
    ],
)
def test_a_wrong_word_is_named(refused, words, message):
    assert message in refused(*FIT, words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {class_path: VAE, init_args: {latentdim: 3}}", "did you mean 'model.latent_dim'"),
        ("modle: {class_path: VAE}", "did you mean 'model'"),
        ("trainer: {max_epoch: 3}", "did you mean 'trainer.max_epochs'"),
        ("trainer: {max_epochs: x}", "trainer.max_epochs: expected int, not 'x'"),
        ("model: {class_path: VEA}", "did you mean 'VAE'"),
        ("model: [unclosed\n  a: b: c", "x.yaml: the configuration is not YAML at line 2"),
        ("", "x.yaml: the configuration is empty"),
        ("- a\n- b", "not made of `name: value` lines"),
        (b"\x86\xff\x00", "not text"),
        (None, "There is no x.yaml"),
    ],
)
def test_a_wrong_file_is_refused(refused, here, text, message):
    if text is not None:
        (here / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refused("fit", "--config=x.yaml", "--data=Digits")


def test_what_experiments_share_is_read_from_a_folder_named_like_a_pattern(
    lab, here, monkeypatch, capfd
):
    monkeypatch.setattr(training, "DEFAULTS", here / "gl[1]/defaults.yaml")
    training.DEFAULTS.parent.mkdir()
    training.DEFAULTS.write_text("pictures: {every: 77}")
    with pytest.raises(SystemExit):
        lab(*FIT, "--print_config")
    assert "every: 77" in capfd.readouterr().out


def test_an_experiment_needs_its_folder_and_its_ending(refused, here):
    (here / "experiments").mkdir()
    (here / "experiments/vae_mnist.yaml").touch()
    for name in ("vae_mnist", "experiments/vae_mnist", "vae_mnist.yaml"):
        assert "did you mean experiments/vae_mnist.yaml?" in refused("fit", "--config", name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fits"], "did you mean 'fit'"),
        (["--verson"], "did you mean '--version'"),
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
        ("--model.lr=-1", "lr is a finite number above 0"),
        ("--data.batch_size=5000", "more than 64 training images"),
        ("--data.val_size=5000", "only 1500 images"),
        ("--data.val_size=0", "no validation images"),
        ("--data.resize=0", "resize is at least 1"),
        ("--pictures.kinds=[cats]", "No picture is called 'cats'"),
        ("--pictures.every=0", "every is at least 1"),
        ("--last.minutes=0", "above 0"),
        ("--checkpoint.monitor=val/los", "There is no val/los to monitor"),
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


@pytest.mark.parametrize(
    ("model", "name", "last"),
    [
        ("VAE", "run", "lab evaluate runs/run/version_0"),
        ("GAN", "two words", "lab sample 'runs/two words/version_0'"),
    ],
)
def test_a_training_ends_with_a_verb_that_takes_its_run(lab, model, name, last):
    short = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--pictures.every=9")
    said = lab("fit", "--data=Digits", f"--model={model}", f"--name={name}", *short)
    assert said.splitlines()[-1] == f"next      {last}"


@pytest.mark.parametrize("precision", ["16", "16-mixed"])
def test_half_precision_is_refused_on_a_cpu_too(refused, precision):
    # Lightning would turn it into bf16-mixed there, in a warning.
    words = ("--model=GAN", f"--trainer.precision={precision}")
    assert "cannot learn in 16-mixed" in refused("fit", "--data=Digits", *words)


def test_nets_refuse_images_they_cannot_take(refused):
    tiny = ["--model.encoder=ConvEncoder", "--data.resize=2"]
    assert "at least 4 x 4" in refused(*FIT, *tiny)


def test_data_that_cannot_be_fetched_are_asked_for(refused):
    message = refused("fit", "--model=VAE", "--data=FreyFaces", "--data.root=nowhere")
    assert "put frey_rawface.mat" in message
    assert "into nowhere" in message


def test_damaged_data_are_named(refused, here):
    (here / "data").mkdir()
    (here / "data/frey_rawface.mat").write_text("hello")
    message = refused("fit", "--model=VAE", "--data=FreyFaces")
    assert "frey_rawface.mat" in message


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_weights_that_nobody_trained_are_not_judged(refused, verb):
    assert "which weights?" in refused(verb, "--data=Digits", "--model=VAE")


class Crafted:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.fixture
def checkpoint(here, trained):
    """A function that makes a bad checkpoint."""

    def make(kind):
        path, good = here / "x.ckpt", trained / "VAE/version_0/checkpoints/last.ckpt"
        whole = good.read_bytes()
        if kind == "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        elif kind == "flipped":
            path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        elif kind == "text":
            path.write_text("hello")
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "folder":
            path.mkdir()
        elif kind == "crafted":
            torch.save({"state_dict": {}, "x": Crafted()}, path)
        elif kind == "foreign":
            torch.save({"state_dict": {}}, path)
        elif kind == "lightning":
            torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, path)
        return path

    return make


BAD_CHECKPOINTS = {
    "missing": "There is no x.ckpt",
    "truncated": "cut short",
    "flipped": "damaged",
    "text": "no checkpoint",
    "empty": "no checkpoint",
    "folder": "x.ckpt",
    "crafted": "refused",
    "foreign": "not written by vae_lab",
    "lightning": "x.ckpt|other settings",
}


@pytest.mark.parametrize(("kind", "message"), BAD_CHECKPOINTS.items(), ids=BAD_CHECKPOINTS)
@pytest.mark.parametrize("verb", ["sample", "fit"])
def test_a_bad_checkpoint_is_refused(refused, checkpoint, kind, message, verb):
    checkpoint(kind)
    words = {
        "sample": ["sample", "x.ckpt"],
        "fit": [*FIT, "--ckpt_path=x.ckpt"],
    }
    assert any(part in refused(*words[verb]) for part in message.split("|"))


def test_a_bad_checkpoint_is_not_measured(refused, checkpoint):
    checkpoint("crafted")
    assert "refused" in refused("test", "--data=Digits", "--model=VAE", "--ckpt_path=x.ckpt")


def test_weights_of_other_settings_are_refused(refused, run):
    last = f"--ckpt_path={run}/checkpoints/last.ckpt"
    assert "other settings" in refused(*FIT, "--model.latent_dim=5", last)
    auto = "--ckpt_path=runs/Autoencoder/version_0"
    assert "other settings" in refused(*FIT, "--model.latent_dim=3", auto)
    assert "name: VAE" in (run / "config.yaml").read_text()


def test_going_on_with_what_is_refused_keeps_the_configuration(lab, run):
    words = ["--name=VAE", "--ckpt_path=last", "--model.latent_dim=3"]
    for wrong in ("--pictures.kinds=[manifold]", "--data.batch_size=5000"):
        with pytest.raises(SystemExit):
            lab(*FIT, *words, wrong)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["pictures"]["kinds"] is None
    assert config["data"]["init_args"]["batch_size"] == 32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "{run}", "--sede=3"], "no setting 'sede'; did you mean 'seed'"),
        (["sample", "{run}", "--n=x"], "n: expected int"),
        (["sample", "{run}", "--n=0"], "--n is at least 1"),
        (["sample", "{run}", "stray"], "stray"),
        (["sample"], "runs must be given"),
        (["sample", "nowhere"], "There is no nowhere"),
        (["sample", "{runs}/VEA"], "did you mean"),
        (["sample", "{auto}"], "needs a model that can sample; Autoencoder cannot"),
        (["manifold", "{run}"], "needs a 2-dimensional code; this VAE has 3"),
        (["sample", "{run}", "--output=/proc/x.png"], "could not be written"),
        (["sample", "{run}", "--output=x.txt"], "--output ends in .png; got 'x.txt'"),
        (["sample", "{run}", "--number=3"], "no setting 'number'; `lab sample --help` lists them"),
        (["encode", "{run}", "--output=x"], "--output ends in .npz; got 'x'"),
        (["encode", "{run}", "--output=.npz"], "--output ends in .npz"),
        (["encode", "{run}", "--output=/proc/x.npz"], "could not be written"),
        (["encode", "{run}", "--split=trian"], "split: expected one of 'train'"),
        (["encode", "{run}", "--limit=-4"], "--limit is at least 1"),
        (["reconstruct", "{run}", "--n=0"], "--n is at least 1"),
        (["traverse", "{run}", "--image=5000"], "there is no image 5000"),
        (["traverse", "{run}", "--image=-1"], "--image is at least 0; got -1"),
        (["scatter", "{run}", "{auto}", "--prior"], "Autoencoder/version_0: the picture 'beside"),
        (["traverse", "{run}", "--steps=0"], "--steps is at least 1"),
        (["interpolate", "{run}", "--steps=0"], "--steps is at least 1"),
        (["interpolate", "{run}", "--pairs=0"], "--pairs is at least 1"),
        (["manifold", "{run}", "--side=0"], "--side is at least 1"),
        (["evaluate", "{run}", "--split=x"], "split: expected one of"),
        (["evaluate", "{run}", "--importance_samples=-1"], "at least 0"),
        (["compare"], "runs must be given"),
        (["compare", "nowhere"], "There is no nowhere"),
        (["compare", "{run}", "--metric=x"], "No metric is called 'x'"),
        (["compare", "{run}", "--html=/proc/x.html"], "could not be written"),
        (["compare", "{run}", "--html=x.png"], "--html ends in .html; got 'x.png'"),
        (["compare", "{run}", "--curves=x.pdf"], "--curves ends in .png; got 'x.pdf'"),
    ],
)
def test_a_verb_refuses_what_it_cannot_do(refused, trained, words, message):
    run, auto = trained / "VAE/version_0", trained / "Autoencoder/version_0"
    assert message in refused(*(word.format(run=run, auto=auto, runs=trained) for word in words))
    assert not list(run.glob("*.json.part"))


def test_pictures_ask_a_model_for_what_it_can_do(refused):
    words = ["--model=Autoencoder", "--pictures.kinds=[samples]"]
    assert "needs a model that can sample; Autoencoder cannot" in refused(*FIT, *words)
    words = ["--model.latent_dim=20", "--pictures.kinds=[manifold]"]
    assert "needs a 2-dimensional code; this VAE has 20" in refused(*FIT, *words)


MISTAKES = [
    ["fit", "--config=nowhere.yaml"],
    ["fit", "--ckpt_path", "nowhere.ckpt"],
    *([verb, "nowhere"] for verb in VERBS.keys() - set(cli.TORCHLESS)),
    *([verb, "settings.yaml"] for verb in VERBS.keys() - set(cli.TORCHLESS)),
    *([verb, ".", "--typo=1"] for verb in VERBS.keys() - {"dashboard"}),
]


def test_nobody_waits_for_torch_to_hear_of_a_mistake(here):
    (here / "settings.yaml").touch()
    code = f"""
import sys
from vae_lab import cli
for words in {MISTAKES}:
    try:
        cli.main(words)
    except SystemExit:
        print(words, [name for name in ("torch", "lightning") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{words} []" for words in MISTAKES], done.stderr


SWITCHES = [
    ("dashboard", "wandb"),
    ("evaluate", "ais"),
    ("evaluate", "parzen"),
    ("scatter", "prior"),
    ("explore", "serve"),
    ("results", "quick"),
    ("results", "page_only"),
]


@pytest.mark.parametrize(("verb", "switch"), SWITCHES)
def test_a_switch_needs_no_value(lab, here, monkeypatch, verb, switch):
    (here / "somewhere").mkdir()
    (here / "somewhere/config.yaml").touch()  # which makes it a run
    given = {}
    function = getattr(import_module(VERBS[verb]), verb)
    # What is called in its place has its signature.
    noted = wraps(function)(lambda **arguments: given.update(arguments))
    monkeypatch.setattr(f"{VERBS[verb]}.{verb}", noted)
    words = [] if verb == "dashboard" else ["somewhere"]  # all others take a run or a row
    lab(verb, *words, f"--{switch}")
    assert given[switch] is True


def test_no_switch_is_left_untried():
    found = [
        (verb, parameter.name)
        for verb, module in VERBS.items()
        for parameter in signature(
            getattr(import_module(module), verb), eval_str=True
        ).parameters.values()
        if parameter.annotation is bool
    ]
    assert sorted(found) == sorted(SWITCHES)


def test_a_verb_says_which_version_it_takes(run, capfd):
    shutil.copytree(run, run.with_name("version_1"))

    def said(*words):
        cli.main([str(word) for word in words])
        return capfd.readouterr().err

    assert said("encode", run) == said("filters", run.parent) == ""
    assert said("encode", run.parent) == "runs/VAE/version_1, the newest of 2\n"
    shutil.rmtree(run)
    assert said("encode", run.parent) == ""
