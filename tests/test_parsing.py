"""What the command line says of itself: in an error, and in the help of classes and verbs."""

import errno
import os
import re
from importlib import import_module
from inspect import getdoc

import pytest
import torch
from conftest import FIT

from vae_lab.data import MNIST, Digits
from vae_lab.models import CVAE, GAN, VAE
from vae_lab.nets import ConvEncoder, MLPEncoder
from vae_lab.verbs import VERBS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.latent_dim=3"], "model: there is no class yet to take latent_dim: name one"),
        (["--model.prior.help=VampPrior"], "there is no class yet to take prior.help"),
        (["--model.latent_dim=3", "--model=VAE"], "no class yet to take latent_dim"),
        (["--model=VAE", "--data.limit=3"], "data: there is no class yet to take limit"),
        (
            ["--data=Digits", "--model=Classifier", "--model.encoder.latent_dim=3"],
            "model.encoder: there is no class yet to take latent_dim",
        ),
        (["--data=Digits", "--model=Model"], "model: Model is abstract: name a class made of it."),
    ],
)
def test_a_setting_of_no_class_is_told_from_a_wrong_one(lab, capfd, words, message):
    with pytest.raises(SystemExit) as stop:
        lab("fit", *words)
    assert stop.value.code == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--model=VAE", "--model.prior.pseudo_inputs=3"], "model.prior.pseudo_inputs"),
        (["--model=Autoencoder", "--model.importance_samples=5"], "model.importance_samples"),
    ],
)
def test_a_setting_of_another_class_is_told_from_one_of_none(lab, capfd, words, name):
    with pytest.raises(SystemExit):
        lab("fit", "--data=Digits", *words)
    said = f"there is no setting {name!r} of the class that is chosen there, though others have one"
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model=VAE", "--model.hidden_dims=[4]"], "; `lab fit --model.help VAE` lists them."),
        (["--model=KMeans", "--model.learning_rate=1"], "; `lab fit --model.help KMeans` lists"),
        (["--model=GAN", "--model.kl_weight=4"], "; `lab fit --model.help GAN` lists them."),
        (["--model=VAE", "--model.encoder.latentdim=4"], "did you mean 'model.latent_dim'?"),
        (
            ["--trainer.callbacks=Timer", "--trainer.callbacks.intervall=step"],
            "did you mean 'trainer.callbacks.interval'?",
        ),
    ],
)
def test_of_the_chosen_class_only_settings_that_it_has_are_suggested(lab, capfd, words, said):
    with pytest.raises(SystemExit):
        lab("fit", "--data=Digits", *words)
    told = capfd.readouterr().err
    assert said in told
    assert ("did you mean" in said) or ("did you mean" not in told)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--model.condition=ClasCondition", "did you mean 'ClassCondition'?"),
        ("--model.encoder=ClassCondition", "ClassCondition is of another kind than what goes"),
    ],
)
def test_a_condition_is_known_by_its_name(lab, capfd, word, said):
    with pytest.raises(SystemExit):
        lab("fit", "--data=Digits", "--model=CVAE", word)
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--lr=0.1", "no setting 'lr'; did you mean 'model.lr'?"),
        ("--batch_size=64", "no setting 'batch_size'; did you mean 'data.batch_size'?"),
        ("--epochs=5", "no setting 'epochs'; did you mean 'trainer.max_epochs'?"),
        ("--trainer.gpus=1", "no setting 'trainer.gpus'; did you mean 'trainer.devices'?"),
        ("--seed=3", "no setting 'seed'; did you mean 'seed_everything'?"),
        (
            "--learning_rate=0.1",
            "no setting 'learning_rate'; did you mean 'model.lr', the rate of Adam?",
        ),
        ("--optimizer=SGD", "no setting 'optimizer'; did you mean 'model.lr', the rate of Adam?"),
        ("--model.optimizer=SGD", "'model.optimizer'; did you mean 'model.lr', the rate of Adam?"),
        ("--resume=true", "no setting 'resume'; did you mean 'ckpt_path'?"),
        ("--checkpoint=last", "'last' is no file of settings; did you mean 'ckpt_path'?"),
        ("--pictures=none", "'none' is no file of settings; there are pictures.kinds, pictures.ev"),
        ("--modle.lr=0.1", "no setting 'modle.lr'; did you mean 'model.lr'?"),
        ("--modle.encoder.hidden=[3]", "did you mean 'model.encoder.hidden'?"),
        ("--trianer.max_epoch=3", "'trianer.max_epoch'; did you mean 'trainer.max_epochs'?"),
        ("--dta.frobnicate=3", "no setting 'dta.frobnicate'; did you mean 'data'?"),
        ("--model.latent-dim=2", "'model.latent-dim'; did you mean 'model.latent_dim'?"),
        ("--model.encoder.hiden=[3]", "did you mean 'model.encoder.hidden'?"),
        ("--model.batch_size=3", "'model.batch_size'; did you mean 'data.batch_size'?"),
        ("--model.epochs=3", "'model.epochs'; did you mean 'trainer.max_epochs'?"),
        ("--model.latent_dim", "--model, or a setting behind it, lacks its value."),
        ("model.latent_dim=2", "model.latent_dim is no option; did you mean --model.latent_dim?"),
        ("–model.latent_dim=2", "–model.latent_dim is no option; did you mean --model.latent"),
        ("--wandb", "lab fit: --wandb lacks its value."),
        ("--config", "lab fit: --config lacks its value."),
        ("--seed_everything=-1", "--seed_everything is from 0 to 4294967295; got -1."),
        ("--model=vae", "no class 'vae'; did you mean 'VAE'?"),
        (
            "--model.schedule=ReduceLROnPlateau",
            "several classes are called ReduceLROnPlateau: give one of torch.optim.lr_scheduler.Re",
        ),
        ("--data.num_workers=4", "'data.num_workers': all images lie in memory, and no workers"),
        ("--num_workers=4", "no setting 'num_workers': all images lie in memory, and no workers"),
        ("--data.shuffle=true", "'data.shuffle': training images come in another order every"),
        ("--data.data_dir=x", "no setting 'data.data_dir'; did you mean 'data.root'?"),
        ("--model.kl_weight=4", "no setting 'model.kl_weight'; did you mean 'model.beta'?"),
        ("--n_epochs=5", "no setting 'n_epochs'; did you mean 'trainer.max_epochs'?"),
        ("--dropout=0.1", "no setting 'dropout'; `lab fit --help` lists them."),
        ("--model.lr=null", "lab fit: lr is a finite number above 0; got None."),
    ],
)
def test_what_beginners_type_is_set_right(lab, capfd, word, said):
    with pytest.raises(SystemExit) as stop:
        lab("fit", "--data=Digits", "--model=VAE", word)
    assert stop.value.code == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("given", ["[0.5]", "[0.5, 0.6, 0.7]", "0.5"])
def test_a_setting_of_two_numbers_says_so(lab, here, capfd, given):
    (here / "x.yaml").write_text(f"model: {{class_path: GAN, init_args: {{betas: {given}}}}}")
    wanted = "a list in brackets" if given == "0.5" else "a list of 2"
    for words in (["--model=GAN", f"--model.betas={given}"], ["--config=x.yaml"]):
        with pytest.raises(SystemExit):
            lab("fit", "--data=Digits", *words)
        said = capfd.readouterr().err
        assert said.endswith(f"model.betas: expected {wanted}, not '{given}'.\n")
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: Digits\nmodel: VAE\ndata: MNIST", "data stands there twice, again in line 3."),
        (
            "model: {class_path: VAE, init_args: {beta: 1,\n latent_dim: 2, beta: 4}}",
            "beta stands there twice, again in line 2.",
        ),
        ("trainer: {callbacks: [{a: 1, a: 2}]}", "a stands there twice, again in line 1."),
    ],
)
def test_a_setting_stands_in_a_file_once(lab, here, capfd, text, said):
    (here / "x.yaml").write_text(text)
    with pytest.raises(SystemExit) as stop:
        lab("fit", "--config=x.yaml", "--trainer.max_epochs=0")
    assert stop.value.code == 2
    assert f"x.yaml: {said}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "{data: Digits, model: VAE, data: MNIST}"], "config: data"),
        (["--model", "{class_path: VAE, init_args: {beta: 1, beta: 4}}"], "model: beta"),
        (["--model=VAE", "--model.encoder=part.yaml"], "model.encoder: hidden"),
        (["--model=VAE", "--data=part.yaml"], "data: hidden"),
    ],
)
def test_settings_of_a_part_or_in_a_files_place_stand_there_once_too(lab, here, capfd, words, said):
    (here / "part.yaml").write_text("{class_path: MLPEncoder, init_args: {hidden: 1, hidden: 2}}")
    with pytest.raises(SystemExit) as stop:
        lab("fit", "--data=Digits", *words, "--trainer.max_epochs=0")
    assert stop.value.code == 2
    assert f"lab fit: {said} stands there twice, again in line 1.\n" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "verb"),
    [("train", "fit"), ("draw", "sample"), ("encoder", "encode"), ("eval", "evaluate")],
)
def test_a_verb_is_known_by_its_name_and_by_what_it_does(lab, capfd, word, verb):
    with pytest.raises(SystemExit):
        lab(word)
    assert f"did you mean '{verb}'?" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "lacking"),
    [
        ("model.prior=Prior", ", without `given`"),
        ("model.encoder=Encoder", ", without `__init__`"),
        ("data=VisionData", ""),
    ],
)
def test_a_class_that_others_are_made_of_is_refused(lab, here, capfd, word, lacking):
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--model=VAE", f"--{word}")
    assert stop.value.code == 2
    place, name = word.split("=")
    said = f"lab fit: {place}: {name} is abstract{lacking}: name a class made of it."
    assert said in capfd.readouterr().err
    assert not (here / "runs").exists()


def test_a_class_may_stand_within_another(lab, here):
    (here / "inner.py").write_text(
        "from vae_lab.nets import MLPEncoder\n\n\nclass Nets:\n    class Small(MLPEncoder):\n"
        "        pass\n"
    )
    lab(*FIT, "--pictures.kinds=[]", "--model=VAE", "--model.encoder=inner.Nets.Small")
    assert (here / "runs/run/version_0/checkpoints/last.ckpt").exists()


def help_of(lab, capfd, *words):
    with pytest.raises(SystemExit) as stop:
        lab("fit", *words)
    assert stop.value.code == 0
    return capfd.readouterr().out


def test_the_help_of_a_class_begins_with_its_equation_errors_and_papers(lab, capfd):
    said = help_of(lab, capfd, "--model=VAE", "--model.prior.help=VampPrior")
    assert said.startswith("vae_lab.priors.VampPrior: The average posterior of learned pseudo-")
    assert ".. math:: p(z) = \\frac{1}{K} \\sum_k q(z | u_k)" in said
    assert "    LabError: If there are no pseudo-inputs" in said
    assert "    Tomczak & Welling, VAE with a VampPrior, 2018. https://arxiv.org/abs" in said
    assert said.index("Tomczak") < said.index("settings:\n")
    # Arguments are told by jsonargparse, with their types and defaults; the data say the shape.
    assert "Args:" not in said
    assert "shape" not in said
    assert said.count("--prior.pseudo_inputs PSEUDO_INPUTS\n") == 1


@pytest.mark.parametrize(
    ("words", "kinds", "other"),
    [
        (["--model.help"], (VAE, CVAE, GAN), "Adversarial"),
        (["--model.help=VAE", "--model.encoder.help"], (MLPEncoder, ConvEncoder), "_Reader"),
        (["--data.help"], (Digits, MNIST), "VisionData"),
    ],
)
def test_help_without_a_name_lists_the_classes_there_are(lab, capfd, words, kinds, other):
    said = help_of(lab, capfd, *words)
    for kind in kinds:
        line = kind.__doc__.partition("\n")[0]
        assert re.search(rf"^  {kind.__name__} +{re.escape(line)}$", said, re.MULTILINE)
    assert f"  {other} " not in said


@pytest.mark.parametrize(("verb", "required"), [("results", False), ("compare", True)])
def test_only_a_list_that_must_be_given_is_called_required(lab, capfd, verb, required):
    with pytest.raises(SystemExit):
        lab(verb, "--help")
    assert ("required" in capfd.readouterr().out) is required


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("results", "by default all without recorded numbers. (type: str"),
        ("compare", "The best number of each metric is bold if all"),
        ("compare", "runs Run folders, experiment folders (all their versions)"),
        ("invert", "Files to invert, prepared like the runs' data"),
    ],
)
def test_the_help_of_a_verb_says_all_that_its_function_does(lab, capfd, verb, said):
    with pytest.raises(SystemExit):
        lab(verb, "--help")
    words = " ".join(capfd.readouterr().out.split())
    assert said in words
    first = getdoc(getattr(import_module(VERBS[verb]), verb)).partition("\n")[0]
    assert words.count(first[:-1]) == 1  # no headline repeats it


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("_check_parts", RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")),
        ("terms", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")),
    ],
    ids=["a model", "a step"],
)
def test_what_no_memory_holds_is_refused_and_leaves_no_run(
    lab, here, capfd, monkeypatch, part, error
):
    def fill(*_):
        raise error

    monkeypatch.setattr(VAE, part, fill)
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--model=VAE")
    assert stop.value.code == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("lab fit: there is no memory for")
    assert not (here / "runs").exists()


def test_files_that_no_memory_maps_are_refused(lab, capfd, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))  # as numpy's memmap does

    monkeypatch.setattr(Digits, "read", fill)
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, "--model=VAE")
    assert stop.value.code == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("lab fit: there is no memory for")
