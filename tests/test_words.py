"""How classes and numbers of things are written."""

import pytest

from vae_lab.adversarial_losses import R1
from vae_lab.errors import LabError
from vae_lab.models import GAN
from vae_lab.nets import ConvCritic
from vae_lab.words import article, counted


@pytest.mark.parametrize(
    "said",
    ["an Autoencoder", "a VAE", "an InfoGAN", "an MLPEncoder", "an R1", "a Uniform", "an int"],
)
def test_a_class_has_the_article_that_it_is_spoken_with(said):
    assert article(said.split()[1]) == said


def test_a_sentence_begins_with_an_article():
    with pytest.raises(LabError, match=r"^An R1 is of the critic's slope"):
        GAN((1, 8, 8), critic=ConvCritic, penalty=R1)


@pytest.mark.parametrize(
    ("n", "noun", "said"),
    [
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (0, "batch", "0 batches"),
        (3, "epoch", "3 epochs"),
        (1000, "image", "1,000 images"),
    ],
)
def test_one_thing_is_not_several(n, noun, said):
    assert counted(n, noun) == said
