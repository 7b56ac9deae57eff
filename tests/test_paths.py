"""Paths as people write them: with a tilde, a variable, an equals sign, a link."""

import errno
import os
from pathlib import Path

import pytest
from conftest import FIT
from PIL import Image

from vae_lab.data import Digits, ImageFolder
from vae_lab.errors import LabError
from vae_lab.files import user_cache


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gallery", "--table=x.png"], "--table ends in .md; got 'x.png'"),
        (["gallery", "--table="], "--table ends in .md; got ''"),
        (["invert", "--codes=z"], "--codes ends in .npz; got 'z'"),
        (["attribute", "--numbers=a.png"], "--numbers ends in .json; got 'a.png'"),
    ],
)
def test_a_file_is_called_what_it_is(lab, capfd, words, says):
    with pytest.raises(SystemExit):
        lab(words[0], "run", words[1])
    assert says in capfd.readouterr().err


@pytest.mark.parametrize("word", ["--output=~/pics/a.png", "--output ~/pics/a.png"])
def test_a_home_is_found_where_no_shell_looked_for_it(lab, run, here, monkeypatch, word):
    monkeypatch.setenv("HOME", str(here / "home"))
    lab("sample", run, *word.split())
    assert (here / "home/pics/a.png").is_file()
    assert not Path("~").exists()


def test_a_configuration_at_home_is_found(lab, here, monkeypatch, capfd):
    monkeypatch.setenv("HOME", str(here))
    (here / "x.yaml").write_text("data: Digits\nmodel: VAE\n")
    with pytest.raises(SystemExit) as stop:
        lab("fit", "--config=~/x.yaml", "--trainer.max_epochs=0")
    assert stop.value.code == 2
    assert "there is nothing to train" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--config=~no_such_user/x.yaml", "There is no ~no_such_user/x.yaml"),
        ("--data.root=~no_such_user/data", "there is nothing to train"),  # it is looked for later
        ("--name=~trial", "there is nothing to train"),
    ],
)
def test_a_tilde_may_be_of_no_home(lab, capfd, word, said):
    with pytest.raises(SystemExit) as stop:
        lab("fit", "--data=Digits", "--model=VAE", "--trainer.max_epochs=0", word)
    assert stop.value.code == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("root", ["~/data", "$DISK/data"])
def test_a_root_of_a_file_is_where_it_says(here, monkeypatch, root):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("DISK", str(here))
    data = Digits(root)
    assert data.root == here / "data"
    assert data.hparams["root"] == str(here / "data")
    assert ImageFolder(folder=root).path == here / "data"


def test_a_file_may_have_an_equals_sign_in_its_name(lab, here):
    Path("beta=4.yaml").write_text("model: {class_path: VAE, init_args: {beta: 4}}\n")
    lab(*[word for word in FIT if "model" not in word], "--config", "beta=4.yaml", "--name=run")
    assert "beta: 4" in Path("runs/run/version_0/config.yaml").read_text()


@pytest.mark.parametrize("word", ["--name=gr\udcc3\udcb6\udcc3\udc9f", "--runs=gr\udcc3\udcb6"])
def test_letters_that_the_locale_does_not_know_are_refused_before_a_run_is_made(
    lab, here, capfd, word
):
    with pytest.raises(SystemExit) as stop:
        lab(*FIT, word)
    assert stop.value.code == 2
    assert "letters that this locale does not know" in capfd.readouterr().err
    assert not list(here.iterdir())


def test_a_folder_of_links_is_a_folder(tmp_path):
    for name, level in (("cats", 0), ("dogs", 255)):
        (tmp_path / "disk" / name / "more").mkdir(parents=True)
        for k in range(10):
            Image.new("L", (4, 4), level).save(tmp_path / "disk" / name / "more" / f"{k}.png")
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "batch").symlink_to(tmp_path / "disk" / name)
    (tmp_path / "pets" / "cats" / "up").symlink_to(tmp_path / "pets" / "cats")
    data = ImageFolder(str(tmp_path / "pets"))
    assert sum(len(data.split(name).rows) for name in ("train", "val", "test")) == 20
    listing = data.listing
    (tmp_path / "disk/dogs/more/9.png").unlink()
    assert None is not listing != ImageFolder(str(tmp_path / "pets")).listing


@pytest.mark.parametrize("verb", ["sample", "compare"])
def test_what_the_system_refuses_to_look_up_is_named(lab, here, capfd, verb):
    name = 300 * "n"
    with pytest.raises(SystemExit) as stop:
        lab(verb, name)
    assert stop.value.code == 2
    assert f"{name} could not be used: File name too long." in capfd.readouterr().err


def test_a_folder_that_may_not_be_searched_is_named(lab, here, capfd, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", refuse)  # root, who runs tests, may search all
    with pytest.raises(SystemExit) as stop:
        lab("compare", "theirs/run")
    assert stop.value.code == 2
    said = "lab compare: theirs/run could not be used: Permission denied.\n"
    assert capfd.readouterr().err == said


def test_who_has_no_home_is_told_to_name_a_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where nobody has that number
    with pytest.raises(LabError, match="set XDG_CACHE_HOME or HOME"):
        user_cache()
