"""Pictures: shape, order, captions, files; how they look was judged by eye."""

import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from vae_lab import pictures
from vae_lab.errors import LabError
from vae_lab.pictures.names import apart


def flat(z, shape=(1, 4, 4)):
    """Decode a code to an image that is as bright as its first number."""
    return z[:, 0].view(-1, 1, 1, 1).expand(-1, *shape)


def is_picture(image):
    return image.ndim == 3 and image.shape[0] == 3 and image.min() >= 0 and image.max() <= 1


@given(
    n=st.integers(1, 7),
    channels=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    columns=st.integers(1, 5),
)
@settings(max_examples=25, deadline=None)
def test_grid_takes_any_size_and_channel_count(n, channels, height, width, columns):
    image = pictures.grid(torch.rand(n, channels, height, width), columns)
    assert is_picture(image)
    assert max(image.shape[2], image.shape[1] / 2) <= 1210
    assert image.shape[2] > 600 or image.shape[1] > 1200 or width * columns > 600


def test_grid_places_images_row_by_row_and_enlarges_by_a_whole_factor():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 2, 2) / 6
    image = pictures.grid(images, columns=3, gap=0)
    assert image.shape == (3, 800, 1200)
    centres = image[0, 200::400, 200::400]
    torch.testing.assert_close(centres, torch.arange(6.0).view(2, 3) / 6)


def test_large_images_keep_their_pixels():
    x = torch.rand(1, 3, 700, 900)
    torch.testing.assert_close(pictures.grid(x, 1, gap=0), x[0])


def test_values_outside_are_clipped_and_nan_is_loud():
    x = torch.tensor([-1.0, 2.0, float("nan")]).view(3, 1, 1, 1)
    image = pictures.grid(x, 3, gap=0)[:, 200, 200::400]
    torch.testing.assert_close(image, torch.tensor([[0.0, 1, 1], [0, 1, 0], [0, 1, 1]]))


@pytest.mark.parametrize("x", [torch.rand(4, 4), torch.rand(0, 1, 4, 4)])
def test_grid_refuses_what_is_no_batch_of_images(x):
    with pytest.raises(LabError, match="grid needs images"):
        pictures.grid(x, 2)


def test_inputs_stand_over_their_reconstructions(monkeypatch):
    seen = {}
    monkeypatch.setattr(pictures.sheets, "captioned", lambda image, **kw: seen.update(kw) or image)
    x = torch.full((12, 1, 4, 4), 0.25)
    image = pictures.reconstructions(x, x + 0.5)
    assert seen["rows"] == ["input", "output"] * 2
    height = image.shape[1] // 4
    left, right = image[0, height // 2 :: height, 50], image[0, height // 2 :: height, -50]
    torch.testing.assert_close(left, torch.tensor([0.25, 0.75, 0.25, 0.75]))
    torch.testing.assert_close(right, torch.tensor([0.25, 0.75, 1.0, 1.0]))


def test_binary_inputs_are_said_to_be(monkeypatch):
    titles = []
    monkeypatch.setattr(pictures.sheets, "_rows", lambda rows, title="": titles.append(title))
    x = torch.rand(4, 1, 5, 5)
    pictures.reconstructions(x, x)
    pictures.reconstructions(x.round(), x)
    words = "inputs over their reconstructions"
    assert titles == [words, f"binary {words}"]


def test_reconstructions_refuse_other_shapes():
    with pytest.raises(LabError, match="do not match"):
        pictures.reconstructions(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 5, 4))


def test_manifold_cuts_the_prior_into_equal_shares():
    seen = []
    pictures.manifold(lambda z: seen.append(z) or flat(z), side=4)
    (z,) = seen
    assert z.dtype == torch.float32
    quantiles = torch.distributions.Normal(0, 1).cdf(z.view(4, 4, 2))
    steps = torch.tensor([0.125, 0.375, 0.625, 0.875])
    torch.testing.assert_close(quantiles[..., 0], steps.expand(4, 4))  # z1 from left to right
    torch.testing.assert_close(quantiles[..., 1], steps.flip(0)[:, None].expand(4, 4))  # z2 up


def test_manifold_without_a_prior_goes_as_far_as_the_codes_go():
    seen = []
    codes = torch.stack([torch.linspace(0, 1, 101), torch.linspace(5, 25, 101)], 1)
    pictures.manifold(lambda z: seen.append(z) or flat(z), side=2, codes=codes)
    expected = [[0.25, 20.0], [0.75, 20.0], [0.25, 10.0], [0.75, 10.0]]
    torch.testing.assert_close(seen[0], torch.tensor(expected))


def test_traversal_moves_one_dimension_a_row():
    seen = []
    base = torch.tensor([0.5, -0.25, 1.0])
    pictures.traversal(lambda z: seen.append(z) or flat(z), base, span=2, steps=5, dims=[2, 0])
    (z,) = seen
    expected = base.repeat(2, 5, 1)
    expected[0, :, 2] = expected[1, :, 0] = torch.tensor([-2.0, -1, 0, 1, 2])
    torch.testing.assert_close(z.view(2, 5, 3), expected)


def test_traversal_without_a_prior_goes_from_limit_to_limit():
    seen = []
    limits = torch.tensor([[0.0, -1.0], [1.0, 3.0]])
    pictures.traversal(lambda z: seen.append(z) or flat(z), torch.zeros(2), steps=3, limits=limits)
    expected = [[[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]], [[0.0, -1.0], [0.0, 1.0], [0.0, 3.0]]]
    torch.testing.assert_close(seen[0].view(2, 3, 2), torch.tensor(expected))


def test_traversal_refuses_a_dimension_outside_the_code():
    with pytest.raises(LabError, match=r"\[3\] lie outside a code of size 3"):
        pictures.traversal(flat, torch.zeros(3), dims=[1, 3])


def test_interpolation_is_straight_and_includes_both_ends():
    seen = []
    start, end = torch.randn(2, 3), torch.randn(2, 3)
    pictures.interpolation(lambda z: seen.append(z) or flat(z), start, end, steps=5)
    z = seen[0].view(2, 5, 3)
    torch.testing.assert_close(z[:, 0], start)
    torch.testing.assert_close(z[:, 2], (start + end) / 2)
    torch.testing.assert_close(z[:, 4], end)
    with pytest.raises(LabError, match="do not pair up"):
        pictures.interpolation(flat, start, end[:1])


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (1, 28, 20), (3, 32, 32)])
def test_every_sheet_is_a_picture_and_moves_no_random_stream(shape):
    def decode(z):
        return flat(z, shape).sigmoid()

    x = torch.rand(13, *shape)
    before = torch.get_rng_state()
    sheets = [
        pictures.reconstructions(x, x),
        pictures.samples(x),
        pictures.manifold(decode, side=5),
        pictures.traversal(decode, torch.zeros(2, 4)),
        pictures.interpolation(decode, torch.zeros(2, 4), torch.ones(2, 4)),
    ]
    assert torch.equal(torch.get_rng_state(), before)
    for image in sheets:
        assert is_picture(image)
        assert 600 <= image.shape[2] <= 1400


def test_decoders_are_called_once_and_without_gradients():
    calls = []

    def decode(z):
        calls.append(torch.is_grad_enabled())
        return flat(z)

    pictures.traversal(decode, torch.zeros(3, requires_grad=True))
    assert calls == [False]


def test_captions_leave_the_image_whole():
    image = torch.rand(3, 60, 90)
    framed = pictures.captioned(image, "a title that is wider", ["up", "down"], ["1", "2", "3"])
    (row,) = torch.nonzero((framed[:, -60:] < 1).any(0).any(0))[-1:, 0].tolist()
    left = row + 1 - 90
    torch.testing.assert_close(framed[:, -60:, left : left + 90], image, atol=0.002, rtol=0)
    assert (framed[:, :-60] < 0.5).any()  # title and columns
    assert (framed[:, -60:, :left] < 0.5).any()  # rows


def test_pca_is_that_of_the_covariance():
    codes = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6)
    points = pictures.project(codes)
    variances = torch.linalg.eigvalsh(codes.T.cov()).flip(0)[:2]
    torch.testing.assert_close(points.var(0), variances, rtol=1e-4, atol=0)


def test_tsne_is_bounded_and_deterministic(monkeypatch):
    monkeypatch.setattr(pictures.plane, "_TSNE_CODES", 40)
    codes = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, second = (pictures.project(codes, "tsne") for _ in range(2))
    assert first.shape == (40, 2)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_the_codes_that_are_drawn_are_counted(monkeypatch):
    titles = []
    monkeypatch.setattr(pictures.plane, "_TSNE_CODES", 40)
    monkeypatch.setattr(pictures.plane, "rasterise", lambda f: titles.append(f.axes[0].get_title()))
    for method in ("pca", "tsne"):
        pictures.scatter(torch.randn(60, 4), method=method, title="VAE")
    assert titles == ["codes of 60 images, VAE", "codes of 40 images, VAE"]


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("classes", [None, 1, 10, 25])
def test_scatter_takes_any_code_size_and_number_of_classes(d, classes):
    labels = None if classes is None else torch.arange(50) % classes
    image = pictures.scatter(torch.randn(50, d), labels)
    assert is_picture(image)


@pytest.mark.parametrize("k", [1, 2, 10, 47])
def test_boxes_part_but_only_as_far_as_they_must(k):
    sizes = torch.tensor([[30.0, 10.0]], dtype=torch.double).expand(k, 2)
    centres = apart(torch.full((k, 2), 1e4, dtype=torch.double), sizes)
    apart_by = (centres[:, None] - centres).abs() + torch.eye(k)[..., None] * 1e6
    assert (apart_by >= sizes[0] - 0.01).any(-1).all()
    assert (centres.amax(0) - centres.amin(0)).max() <= k * 10 * 1.1
    far = 40.0 * torch.stack([torch.arange(k), torch.arange(k) % 3], 1).double()
    torch.testing.assert_close(apart(far, sizes), far, atol=0.31, rtol=0)


@pytest.mark.parametrize("codes", ["equal", "tiny", "far", "round"])
@pytest.mark.parametrize("names", [(), [f"class number {k}" for k in range(10)]])
def test_no_name_of_a_class_covers_another(monkeypatch, codes, names):
    figures = []
    draw = FigureCanvasAgg.draw
    monkeypatch.setattr(
        FigureCanvasAgg, "draw", lambda canvas: (figures.append(canvas.figure), draw(canvas))
    )
    noise = torch.randn(200, 2)
    points = {"equal": 0 * noise, "tiny": 1e-8 * noise, "far": 5000 + noise.round(), "round": noise}
    pictures.scatter(points[codes], torch.arange(200) % 10, names)
    (axes,) = figures[-1].axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 10
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(axes.bbox.overlaps(box) for box in boxes)


@pytest.mark.parametrize(
    ("codes", "labels", "message"),
    [
        (torch.zeros(4, 3), torch.zeros(4, 2), "as many class indices"),
        (torch.full((4, 2), torch.nan), None, "not finite"),
        (torch.zeros(2, 3), None, "at least three codes"),
    ],
)
def test_scatter_refuses(codes, labels, message):
    with pytest.raises(LabError, match=message):
        pictures.scatter(codes, labels)


def test_png_holds_the_image_and_leaves_nothing_else(tmp_path):
    image = torch.rand(3, 5, 7)
    pictures.save_png(image, tmp_path / "new" / "a.png")
    read = np.asarray(Image.open(tmp_path / "new" / "a.png"))
    assert np.abs(read / 255 - image.permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_png_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(LabError, match="written"):
        pictures.save_png(torch.rand(3, 5, 7), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_panels_share_what_settled_curves_span_unless_told_otherwise(monkeypatch):
    def run(level):
        fall = [(x, level - 900 * (x < 10)) for x in range(1, 101)]
        return pictures.Panel(f"run {level}", {"train": fall, "validation": [(100, level)]})

    seen = []
    drawing = sys.modules["vae_lab.pictures.curve"]
    monkeypatch.setattr(drawing, "rasterise", seen.append)
    pictures.panels([run(-100.0), run(-80.0)], "elbo", "images seen")
    pictures.panels([run(-100.0), run(-80.0)], "elbo", "images seen", shared=False)
    limits = [[axes.get_ylim() for axes in figure.axes] for figure in seen]
    assert limits == [[(-101, -79)] * 2, [(-101, -99), (-81, -79)]]
    assert {axes.get_xscale() for figure in seen for axes in figure.axes} == {"log"}
    pictures.panels([run(-80.0)] * 5, "elbo", "images seen")
    assert len(seen[-1].axes) == 5
    with pytest.raises(LabError, match="no curve of elbo"):
        pictures.panels([pictures.Panel("new", {"train": []})], "elbo", "step")


def test_pictures_of_other_sizes_stand_beside_and_below_one_another():
    small, large = torch.zeros(3, 2, 3), torch.ones(3, 5, 4)
    assert pictures.stacked([small, large]).shape == (3, 7, 4)
    row = pictures.beside([small, large])
    assert row.shape == (3, 5, 3 + 20 + 4 + 20)
    assert not row[:, :2, :3].any()
    assert row[:, 2:].all()


def test_a_short_curve_is_seen_and_its_axis_can_be_read(monkeypatch):
    drawn = []
    monkeypatch.setattr(sys.modules["vae_lab.pictures.curve"], "rasterise", drawn.append)
    one, short = [(1350, -30.0)], [(1350, -3.0), (2700, -2.0)]
    long = [(0, -4.0), (10, -3.0), (5000, -2.0)]
    decade = [(5e4, -3.0), (5e5, -2.0)]  # of ten epochs
    for curve in (one, short, decade, long):
        pictures.panels([pictures.Panel("run", {"validation": curve})], "elbo", "images seen")
    axes = [figure.axes[0] for figure in drawn]
    assert [a.lines[0].get_marker() for a in axes] == ["o", "None", "None", "None"]
    for figure in drawn:
        figure.draw_without_rendering()
    labels = [[t.get_text() for t in a.get_xticklabels(which="both") if t.get_text()] for a in axes]
    assert labels[:3] == [["1,350"], ["1,350", "2,700"], ["50,000", "500,000"]]
    assert len(labels[3]) > 2


def test_iterations_are_whole(monkeypatch):
    drawn = []
    monkeypatch.setattr(sys.modules["vae_lab.pictures.curve"], "rasterise", drawn.append)
    pictures.curve(torch.tensor([3.0, 4.0]), "mean log p(x), nats")
    ticks = drawn[0].axes[0].get_xticks()
    assert len(ticks) > 1
    assert (ticks == ticks.round()).all()


@pytest.fixture
def written(monkeypatch):
    """Catch what is written beside a sheet."""
    seen = []

    def write(image, title="", rows=(), columns=()):
        seen.append((list(rows), list(columns)))
        return image

    monkeypatch.setattr(pictures.sheets, "captioned", write)
    return seen


def test_rows_and_columns_of_codes_are_called_by_their_own_numbers(written):
    codes = torch.stack([torch.linspace(0, 1, 101), torch.linspace(5, 25, 101)], 1)
    pictures.manifold(flat, side=2, codes=codes)
    pictures.traversal(flat, torch.zeros(3), span=2, steps=3, dims=[2, 0])
    pictures.interpolation(flat, torch.zeros(2, 3), torch.ones(2, 3), steps=3)
    limits = torch.tensor([[-1.234, 0, 10], [5, 0.5, 20]])
    pictures.traversal(flat, torch.zeros(3), steps=3, dims=[2, 0], limits=limits)
    assert written == [
        (["20.00", "10.00"], ["0.25", "0.75"]),  # z2 grows from bottom to top
        (["z3", "z1"], ["-2", "0", "2"]),
        (["pair 1", "pair 2"], ["0", "0.5", "1"]),
        (["z3: 10 to 20", "z1: -1.2 to 5"], []),
    ]


def test_what_is_too_bright_differs_towards_white(monkeypatch):
    rows = {}
    monkeypatch.setattr(pictures.sheets, "_rows", lambda named, title: rows.update(named))
    target = torch.full((1, 1, 1, 3), 0.5)
    pictures.inversions(target, {"found": torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)})
    assert rows["found - target"].flatten().tolist() == [0.25, 0.5, 0.75]


def test_labels_that_are_left_out_move_no_others():
    # Ten cells of ten pixels, of which every third has room for its label.
    places = list(pictures.canvas._spread([f"{k}" for k in range(10)], 100, 25))
    assert places == [(5, "0"), (35, "3"), (65, "6"), (95, "9")]


def test_a_class_is_named_among_its_own_points_though_others_are_absent(monkeypatch):
    figures = []
    monkeypatch.setattr(pictures.plane, "rasterise", figures.append)
    labels = torch.tensor([3, 1] * 20)
    places = torch.tensor([[0.0, 0], [0, -1], [0, 0], [30, 3]])
    pictures.scatter(places[labels], labels, ["a", "b", "c", "d"])
    (axes,) = figures[0].axes
    said = {text.get_text(): text.get_position() for text in axes.texts}
    assert said == {"b": (0, -1), "d": (30, 3)}
    assert [name.strip() for name in axes.get_legend_handles_labels()[1]] == ["b", "d"]
    points, *keys = axes.collections
    colours = points.get_facecolors()
    assert [key.get_facecolors()[0].tolist() for key in keys] == colours[[1, 0]].tolist()
