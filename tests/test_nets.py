"""Nets fit any image, code and width, or say why not."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from vae_lab.errors import LabError
from vae_lab.nets import (
    ConvCritic,
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    MLPDecoder,
    MLPEncoder,
    MLPGenerator,
    ResidualDecoder,
    ResidualEncoder,
    TiedDecoder,
    normalises,
)
from vae_lab.nets.residual import Residual

shapes = st.tuples(st.integers(1, 4), st.integers(1, 19), st.integers(1, 19))
widths = st.lists(st.integers(1, 6), max_size=3)
sizes = st.integers(1, 7)


def check(
    encoder: Callable[..., Encoder], decoder: Callable[..., Decoder], shape: tuple, size: int
) -> None:
    x = torch.rand(2, *shape)
    features = encoder(shape, size)(x)
    assert features.shape == (2, size)
    assert decoder(size, shape)(features).shape == x.shape


@settings(deadline=None)
@given(shapes, sizes, widths, st.sampled_from(["ReLU", "GLU"]))
def test_mlps_fit_any_image_and_code(shape, size, hidden, activation):
    check(
        lambda *args: MLPEncoder(*args, hidden, activation),
        lambda *args: MLPDecoder(*args, hidden[::-1], activation),
        shape,
        size,
    )


@settings(deadline=None)
@given(shapes, sizes, widths, sizes)
def test_convolutions_fit_any_image_that_they_can_halve(shape, size, channels, hidden):
    def both():
        check(
            lambda *args: ConvEncoder(*args, channels=channels, hidden=hidden),
            lambda *args: ConvDecoder(*args, channels=channels[::-1], hidden=hidden),
            shape,
            size,
        )

    if min(shape[1:]) >= 2 ** len(channels):
        both()
    else:
        with pytest.raises(LabError, match="fewer channels or resize"):
            both()


@settings(deadline=None)
@given(shapes, sizes, widths, st.integers(1, 2), sizes)
def test_residual_nets_fit_any_image_until_one_pixel_is_left(shape, size, channels, blocks, hidden):
    def both():
        check(
            lambda *args: ResidualEncoder(*args, channels, blocks, hidden),
            lambda *args: ResidualDecoder(*args, channels[::-1], blocks, hidden),
            shape,
            size,
        )

    if max(shape[1:]) > 2 ** (len(channels) - 1) or not channels:
        both()
    else:
        with pytest.raises(LabError, match=r"cannot be halved .* fewer channels"):
            both()


@pytest.mark.parametrize("net", [ConvEncoder, ConvDecoder])
def test_too_small_an_image_is_refused_with_its_size(net):
    arguments = {"shape": (1, 7, 28), "features": 2, "channels": (8, 8, 8)}
    with pytest.raises(LabError, match="at least 8 x 8; these are 7 x 28"):
        net(**arguments)


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 9, 14)])
@pytest.mark.parametrize(
    "pair",
    [
        (ConvEncoder, ConvDecoder),
        (partial(ResidualEncoder, blocks=2), partial(ResidualDecoder, blocks=2)),
        (partial(MLPEncoder, activation="GLU"), partial(MLPDecoder, activation="GLU")),
    ],
    ids=["convolutions", "residual", "gated"],
)
def test_every_parameter_of_a_net_is_within_reach(pair, size):
    net = nn.Sequential(pair[0](size, 5), pair[1](5, size))
    net(torch.rand(4, *size)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("net", [ConvDecoder, ResidualDecoder])
def test_every_pixel_of_an_odd_image_is_painted(net):
    # Where only a bias reached, two codes would give the same row or column.
    images = net(3, (1, 9, 11), channels=(8, 8))(torch.randn(2, 3))
    assert (images[0] != images[1]).all()


@pytest.mark.parametrize("name", ["ReLU", "Tanh", "Sigmoid", "GELU", "ELU", "SiLU", "PReLU"])
@pytest.mark.parametrize(("net", "hidden"), [(MLPEncoder, (4, 4)), (ConvEncoder, 4)])
def test_activations_are_chosen_by_name(net, hidden, name):
    made = net((1, 8, 8), 2, hidden=hidden, activation=name)
    kind = getattr(nn, name)
    assert sum(isinstance(layer, kind) for layer in made) == (2 if net is MLPEncoder else 3)
    assert not isinstance(made[-1], kind)


NONE = ["relu", "Rellu", "", "Linear", "F", "Module", "Tensor", "Threshold", "Softmax2d"]


@pytest.mark.parametrize(
    ("net", "name"),
    [
        *product([MLPEncoder, ConvEncoder, ResidualEncoder], NONE),
        # Between fully connected layers it is a gate.
        *product([ConvEncoder, ResidualEncoder], ["GLU"]),
    ],
)
def test_what_is_no_activation_is_refused(net, name):
    with pytest.raises(LabError, match="activation"):
        net((1, 8, 8), 2, activation=name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"net": MLPEncoder, "hidden": (0,)},
        {"net": MLPDecoder, "hidden": (4, -1)},
        {"net": MLPEncoder, "features": 0},
        {"net": ConvEncoder, "features": 0},
        {"net": ConvDecoder, "features": 0},
        {"net": ConvEncoder, "hidden": 0},
        {"net": ConvDecoder, "hidden": -2},
        {"net": ConvEncoder, "channels": (8, 0)},
        {"net": ConvDecoder, "channels": (0, 8)},
        {"net": ResidualEncoder, "channels": (8, 0)},
        {"net": ResidualEncoder, "blocks": 0},
        {"net": ResidualDecoder, "blocks": 0},
        {"net": ResidualDecoder, "hidden": 0},
    ],
    ids=str,
)
def test_a_layer_of_nothing_is_refused(wrong):
    net = wrong["net"]
    given = {"shape": (1, 8, 8), "features": 2, **wrong}
    del given["net"]
    with pytest.raises(LabError, match="at least one unit"):
        net(**given)


def test_convolutions_use_the_layout_they_prefer():
    first = ConvEncoder((3, 8, 8), 2)[0]
    assert first.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (lambda: MLPEncoder((1, 28, 28), 500, hidden=(600,) * 6), (1, 28, 28)),
        (lambda: MLPDecoder(500, (1, 28, 28), hidden=(600,) * 6), (500,)),
        (lambda: ConvEncoder((3, 32, 32), 500, (32, 64, 128)), (3, 32, 32)),
        (lambda: ConvDecoder(500, (3, 32, 32), (128, 64, 32)), (500,)),
        (lambda: MLPEncoder((1, 28, 28), 500, (600,) * 6, "GLU"), (1, 28, 28)),
        (lambda: MLPDecoder(500, (1, 28, 28), (600,) * 6, "GLU"), (500,)),
        (lambda: ResidualEncoder((3, 32, 32), 500, (32,) * 3, 4), (3, 32, 32)),
        (lambda: ResidualDecoder(500, (3, 32, 32), (32,) * 3, 4), (500,)),
    ],
    ids=[
        "MLP down",
        "MLP up",
        "convolutions down",
        "convolutions up",
        "gates down",
        "gates up",
        "residuals down",
        "residuals up",
    ],
)
def test_a_signal_keeps_its_size_through_many_layers(net, inputs):
    torch.manual_seed(0)
    output = net()(torch.randn(100, *inputs))
    assert 0.5 < output.std().item() < 1.5


def test_a_gate_multiplies_one_linear_map_with_the_sigmoid_of_another():
    first, gate, last = list(MLPEncoder((1, 2, 2), 3, (5,), "GLU"))[1:]
    x = torch.rand(7, 4)
    weights, gates = first.weight.chunk(2)
    biases, gate_biases = first.bias.chunk(2)
    hidden = (x @ weights.T + biases) * (x @ gates.T + gate_biases).sigmoid()
    torch.testing.assert_close(gate(first(x)), hidden)
    assert last.in_features == 5


def test_gated_weights_cannot_be_tied():
    with pytest.raises(LabError, match="but GLU"):
        TiedDecoder(MLPEncoder((1, 2, 2), 3, (5,), "GLU"), (1, 2, 2))


def test_a_residual_block_adds_to_what_it_is_given():
    block = Residual(4, 4, "ReLU")
    for parameter in block.body[-1].parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_what_an_activation_learns_is_not_drawn_anew():
    slopes = [
        part for part in MLPEncoder((1, 4, 4), 3, (5,), "PReLU") if isinstance(part, nn.PReLU)
    ]
    assert [slope.weight.item() for slope in slopes] == [0.25]


def test_adversarial_nets_are_normalised_where_they_say_and_begin_small():
    # A penalty on the slope at each image allows of no normalisation in any layer.
    assert not normalises(ConvCritic((1, 8, 8), 1, linear=(5,), batch_norm=False))
    generator = MLPGenerator(100, (1, 28, 28), (300, 200))
    assert [isinstance(part, nn.BatchNorm1d) for part in list(generator)[:5]] == [
        *[False] * 3,
        True,
        False,
    ]
    for part in generator:
        if isinstance(part, nn.Linear):
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("bases", [(Encoder, nn.Sequential), (nn.Sequential, Encoder)])
def test_a_net_of_ones_own_names_its_bases_in_any_order(bases):
    def init(self, shape, features):
        super(self.__class__, self).__init__(nn.Flatten(), nn.Linear(math.prod(shape), features))

    net = type("Own", bases, {"__init__": init})((1, 2, 3), 4)
    assert net(torch.zeros(5, 1, 2, 3)).shape == (5, 4)
