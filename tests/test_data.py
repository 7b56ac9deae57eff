"""What the data promise: the right images, divided, scaled and drawn as asked."""

import errno
import os

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from vae_lab.data import (
    Batches,
    Digits,
    Split,
    pixels,
    store,
)
from vae_lab.data.pixels import generator, shifted
from vae_lab.errors import LabError


def numbered(n, size=1):
    """Images of which the label is the row."""
    return Split(torch.zeros(n, 1, size, size, dtype=torch.uint8), torch.arange(n), torch.arange(n))


@given(
    n=st.integers(1, 70), batch=st.integers(1, 20), world=st.integers(1, 4), epoch=st.integers(0, 9)
)
@settings(deadline=None, max_examples=60)
def test_each_image_is_seen_once_an_epoch_over_all_ranks(n, batch, world, epoch):
    if n < world:
        with pytest.raises(LabError, match="cannot be shared"):
            Batches(numbered(n), batch, world=world)
        return
    ranks = [Batches(numbered(n), batch, shuffle=True, rank=r, world=world) for r in range(world)]
    for loader in ranks:
        loader.set_epoch(epoch)
    passes = [[b.y for b in loader] for loader in ranks]
    assert {len(p) for p in passes} == {len(ranks[0])}
    assert min(len(y) for p in passes for y in p) >= min(2, batch, n // world)
    assert sorted(torch.cat([y for p in passes for y in p]).tolist()) == list(range(n))


def test_a_batch_depends_on_seed_epoch_rank_and_place_alone():
    grey = numbered(52, size=4)
    grey.images.fill_(128)

    def batches(seed=1, epoch=2, rank=0, start=0):
        loader = Batches(grey, 8, shuffle=True, dynamic=True, seed=seed, rank=rank, world=2)
        loader.load_state_dict({"epoch": epoch, "batch": start, "batches": 4})
        torch.rand(17)  # other draws do not move it
        return list(loader)

    first = batches()
    for start in range(4):
        for a, b in zip(first[start:], batches(start=start), strict=True):
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.y, b.y)
    for other in (batches(seed=2), batches(epoch=3), batches(rank=1)):
        assert not torch.equal(first[0].x, other[0].x)
        assert not torch.equal(first[0].y, other[0].y)
    assert not torch.equal(first[0].x, first[1].x)


def test_epochs_count_up_by_themselves():
    loader = Batches(numbered(20), 7, shuffle=True)
    first, second = ([b.y.tolist() for b in loader] for _ in range(2))
    assert first != second
    loader.set_epoch(0)
    assert [b.y.tolist() for b in loader] == first


def test_a_pass_cut_short_is_begun_anew():
    loader = Batches(numbered(20), 5)
    assert next(iter(loader)).y.tolist() == next(iter(loader)).y.tolist() == [0, 1, 2, 3, 4]


def test_a_state_within_another_division_is_refused():
    state = {"epoch": 1, "batch": 3, "batches": 10}
    with pytest.raises(LabError, match="epoch of 10 batches, and an epoch has 4"):
        Batches(numbered(20), 5).load_state_dict(state)


def test_drawn_pixels_are_lit_with_the_probability_of_their_grey():
    grey = torch.arange(256, dtype=torch.uint8).repeat(20_000, 1)
    rate = pixels.draw(grey, pixels.generator(0)).double().mean(0)
    p = torch.arange(256) / 255
    assert rate[0] == 0
    assert rate[255] == 1
    assert (rate - p).abs().max() < 4.5 * 0.5 / 20_000**0.5
    # The sum of squared z-scores over the 254 grey levels between is a chi-square.
    z = (rate - p)[1:-1] / (p * (1 - p) / 20_000).sqrt()[1:-1]
    assert abs(z.square().sum() - 254) < 4 * (2 * 254) ** 0.5


def test_splits_do_not_overlap_nor_depend_on_the_seed_of_the_run(monkeypatch):
    first = {k: Digits().images(k) for k in ("train", "val", "test")}
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert [len(first[k].x) for k in first] == [1350, 150, 297]
    rows = [x.tobytes() for k in first for x in first[k].x.numpy()]
    assert len(set(rows)) == len(rows) == 1797
    for k in first:
        assert torch.equal(first[k].x, Digits().images(k).x)
    assert not torch.equal(first["val"].x, Digits(split_seed=1).images("val").x)
    assert torch.equal(first["test"].x, Digits(split_seed=1).images("test").x)


def test_limit_shortens_train_alone():
    whole, few = Digits(), Digits(limit=40)
    assert torch.equal(few.images("train").x, whole.images("train", 40).x)
    assert torch.equal(few.images("val").x, whole.images("val").x)


@pytest.mark.parametrize("limit", [10, 100, 127, 1])
def test_few_labels_are_drawn_evenly_by_a_seed(limit):
    whole = Digits()
    draws = [Digits(limit=limit, limit_seed=seed) for seed in (0, 1)]
    rows = [draw.split("train").rows for draw in draws]
    for draw in draws:
        counts = torch.bincount(draw.images("train").y, minlength=10)
        assert counts.sum() == limit
        assert counts.max() - counts.min() <= 1
        assert torch.equal(draw.images("val").x, whole.images("val").x)
    assert torch.equal(rows[0], Digits(limit=limit, limit_seed=0).split("train").rows)
    assert not torch.equal(rows[0], rows[1])
    train, val = (set(whole.split(name).rows.tolist()) for name in ("train", "val"))
    assert set(rows[0].tolist()) <= train
    assert not set(rows[0].tolist()) & val
    assert len(set(rows[0].tolist())) == limit


def test_what_is_left_over_goes_to_any_class():
    found = {int(Digits(limit=1, limit_seed=seed).images("train").y) for seed in range(60)}
    assert found == set(range(10))


def test_a_larger_draw_contains_the_smaller_one():
    few, more = (Digits(limit=n, limit_seed=3).split("train").rows.tolist() for n in (20, 200))
    assert set(few) < set(more)


def test_a_draw_is_told_in_the_protocol():
    assert {"limit", "limit_seed"}.isdisjoint(Digits().protocol("test"))
    assert "limit_seed" not in Digits(limit=5).protocol("test")
    assert "val_size" not in Digits().protocol("test")
    assert Digits(val_size=40).protocol("test")["val_size"] == 40
    told = Digits(limit=50, limit_seed=2).protocol("test")
    assert (told["limit"], told["limit_seed"]) == (50, 2)


def test_draws_take_classes_of_any_number_and_refuse_what_has_none():
    labels = torch.tensor([7] * 5 + [-2] * 3 + [40] * 9)
    drawn = labels[store.draw_evenly(labels, 9, 0)]
    assert sorted(drawn.tolist()) == [-2] * 3 + [7] * 3 + [40] * 3
    for seed in range(3):
        assert (labels[store.draw_evenly(labels, 11, seed)] == -2).sum() == 3
    with pytest.raises(LabError, match=r"12 images, .* of 3 classes, .*class -2 has 3\. Lower"):
        store.draw_evenly(labels, 12, 0)
    for attributes in (torch.zeros(9, 2), torch.zeros(9)):
        with pytest.raises(LabError, match="these have no class"):
            store.draw_evenly(attributes, 3, 0)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    pad=st.integers(0, 3),
    channels=st.sampled_from([None, 1, 3]),
    binarize=st.sampled_from(["none", "threshold", "static", "dynamic"]),
)
@settings(deadline=None, max_examples=25)
def test_any_shape_is_known_beforehand_and_kept(size, pad, channels, binarize):
    data = Digits(resize=size, pad=pad, channels=channels, binarize=binarize, batch_size=50)
    shape = ((channels or 1), size[0] + 2 * pad, size[1] + 2 * pad)
    assert data.shape == shape
    for batch in (next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))):
        assert batch.x.shape[1:] == shape
        assert batch.x.dtype == torch.float32
        assert 0 <= batch.x.min() <= batch.x.max() <= 1
        if pad:
            assert batch.x[..., :pad, :].sum() == 0
        if binarize != "none":
            assert set(batch.x.unique().tolist()) <= {0, 1}
    assert data.protocol("val")["shape"] == list(shape)


def test_scaling_padded_back_to_the_native_size_is_still_scaling():
    assert Digits(resize=6, pad=1).images("test").x[..., 0].sum() == 0


def test_scaling_and_threshold_are_right():
    grey = Digits().images("test")
    assert (grey.x * 16 - (grey.x * 16).round()).abs().max() < 16 * 0.5 / 255 + 1e-5
    assert grey.x.max() == 1
    assert torch.equal(Digits(binarize="threshold").images("test").x, (grey.x > 0.5).float())
    assert torch.equal(Digits(channels=3).images("test").x, grey.x.expand(-1, 3, -1, -1))


def test_colour_without_colour_is_the_same_grey():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    grey = pixels.prepare(levels.expand(1, 3, 16, 16), 1, (16, 16), border=0, threshold=False)
    assert torch.equal(grey, levels)


def test_a_threshold_lies_between_127_and_128():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    found = pixels.prepare(levels, 1, (16, 16), border=0, threshold=True)
    assert found.flatten().tolist() == [0] * 128 + [255] * 128


def test_static_is_drawn_once_and_dynamic_anew():
    static, dynamic = Digits(binarize="static"), Digits(binarize="dynamic")
    assert static.protocol("test")["binarize"] == "static-own"
    for name in ("val", "test"):
        assert torch.equal(static.images(name).x, Digits(binarize="static").images(name).x)
        assert torch.equal(static.images(name).x, dynamic.images(name).x)
    assert torch.equal(dynamic.images("train", 9).x, dynamic.images("train", 20).x[:9])

    def pixels_of(loader):
        return sum(batch.x.sum() for batch in loader)

    again = static.train_dataloader()
    assert pixels_of(again) == pixels_of(again) == static.images("train").x.sum()
    anew = dynamic.train_dataloader()
    assert pixels_of(anew) != pixels_of(anew)
    for data in (static, dynamic):
        for name in ("train", "test"):
            rate, grey = data.images(name).x.mean(), Digits().images(name).x.mean()
            assert abs(rate - grey) < 0.01


def test_another_seed_of_the_run_is_another_order(monkeypatch):
    def order():
        return torch.cat([batch.y for batch in Digits().train_dataloader()])

    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    first = order()
    assert torch.equal(order(), first)
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    assert not torch.equal(order(), first)


def test_each_split_and_each_split_seed_has_draws_of_its_own():
    class Grey(Digits):
        def read(self, split):
            return torch.full((40, 1, 8, 8), 128, dtype=torch.uint8), torch.arange(40) % 10

    both = [Grey(binarize="static", val_size=20, split_seed=seed) for seed in (0, 1)]
    drawn = [data.images(name, 20).x for data in both for name in ("train", "val", "test")]
    assert len({x.numpy().tobytes() for x in drawn}) == 6


def test_images_are_what_the_evaluation_loader_gives():
    data = Digits(binarize="dynamic", eval_batch_size=64)
    for name in ("train", "val", "test"):
        batches = list(data.loader(name))
        assert torch.equal(torch.cat([b.x for b in batches]), data.images(name).x)
        assert torch.equal(torch.cat([b.y for b in batches]), data.images(name).y)
        assert torch.equal(data.images(name, 5).x, batches[0].x[:5])


def test_a_set_beyond_the_memory_is_mapped_and_the_same(monkeypatch, tmp_path):
    whole = Digits(str(tmp_path), resize=16, binarize="static").images("train")
    mappings = []
    monkeypatch.setattr(store, "_available_memory", lambda: 1000)
    monkeypatch.setattr(np, "memmap", lambda *a, f=np.memmap, **k: mappings.append(k) or f(*a, **k))
    mapped = Digits(str(tmp_path), resize=16, binarize="static")
    mapped.split("train")
    assert [k["shape"] for k in mappings] == [(n, 1, 16, 16) for n in (1500, 1350, 150)]
    assert torch.equal(mapped.images("train").x, whole.x)
    assert list((tmp_path / ".cache").iterdir()) == []


def test_a_disk_without_room_for_what_is_mapped_is_named(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_available_memory", lambda: 1000)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(LabError, match=r"\.cache has no room \(No space left"):
        Digits(str(tmp_path), resize=16).split("train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is at least 1; got 0"),
        ({"eval_batch_size": -1}, "eval_batch_size is at least 1"),
        ({"val_size": -1}, "val_size is at least 0"),
        ({"val_size": 1500}, "val_size is 1500, but there are only 1500"),
        ({"limit": 0}, "limit is at least 1"),
        ({"limit_seed": 0}, "limit_seed draws .* give limit too"),
        ({"limit": 10, "limit_seed": -1}, "limit_seed is at least 0"),
        (
            {"limit": 1350, "limit_seed": 0},
            r"1350 images, as many of each of 10 classes, .* class ",
        ),
        ({"limit": 1351}, "limit is 1351, but there are only 1350"),
        ({"pad": -1}, "pad is at least 0"),
        ({"resize": 0}, "resize is at least 1"),
        ({"resize": (4, 0)}, "resize is at least 1"),
        ({"channels": 2}, "channels is one of None, 1, 3, not 2"),
        ({"binarize": "soft"}, "binarize is one of none, threshold, static, dynamic"),
        ({"split_seed": -1}, "split_seed is at least 0"),
        ({"split_seed": None}, "split_seed is at least 0; got None"),
        ({"batch_size": 2000}, "batch_size is 2000 .* more than 1,350 training images"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(arguments, message):
    with pytest.raises(LabError, match=message):
        Digits(**arguments).setup("fit")


def test_there_are_three_splits_of_which_one_may_be_empty():
    data = Digits(val_size=0)
    assert data.val_dataloader() == []
    assert len(data.split("train").rows) == 1500
    with pytest.raises(LabError, match="val_size is 0"):
        data.split("val")
    with pytest.raises(LabError, match="no split 'dev'; choose from train, val, test"):
        data.split("dev")


def test_splits_name_what_there_is():
    assert Digits().splits == ("train", "val", "test")
    assert Digits(val_size=0).splits == ("train", "test")


def test_memory_is_guessed_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(store.Path, "read_text", lambda *a, **k: (_ for _ in ()).throw(OSError()))
    assert store.fits(1)
    monkeypatch.delattr(store.os, "sysconf")
    assert store.fits(4 * 2**30)
    assert not store.fits(4 * 2**30 + 1)


def test_a_shift_moves_each_image_by_itself_and_lets_black_in():
    pixels = torch.zeros(4000, 1, 7, 9, dtype=torch.uint8)
    pixels[..., 3, 4] = 255
    moved = shifted(pixels, 2, generator(0))
    places = moved.flatten(2).argmax(2).flatten()
    assert moved.flatten(1).count_nonzero(1).eq(1).all()
    down, right = places // 9 - 3, places % 9 - 4
    for offset in (down, right):
        shares = torch.bincount(offset + 2) / 4000
        torch.testing.assert_close(shares, torch.full((5,), 0.2), rtol=0, atol=0.03)
    assert abs(torch.corrcoef(torch.stack([down, right]).float())[0, 1]) < 0.06


def test_only_training_images_are_shifted_and_anew_every_epoch():
    data = Digits(shift=1, batch_size=64)
    loader = data.train_dataloader()
    first, again = (torch.cat([batch.x for batch in loader]) for _ in range(2))
    still = torch.cat([batch.x for batch in Digits(batch_size=64).train_dataloader()])
    assert first.shape == still.shape
    assert not torch.equal(first, still)
    assert not torch.equal(first.sort(0).values, again.sort(0).values)
    assert torch.equal(data.images("val").x, Digits().images("val").x)
    assert torch.equal(data.images("train").x, Digits().images("train").x)
    assert data.protocol("test")["shift"] == 1
    assert "shift" not in Digits().protocol("test")


def test_a_shift_that_leaves_nothing_to_see_is_refused():
    with pytest.raises(LabError, match="below the shorter side of an image, 8 pixels; it is 8"):
        Digits(shift=8).setup("fit")
    with pytest.raises(LabError, match="12 pixels"):
        Digits(shift=12, resize=(12, 40)).setup("fit")
    Digits(shift=7).setup("fit")
