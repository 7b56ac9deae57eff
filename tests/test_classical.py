"""PCA, k-means and a Gaussian mixture: their mathematics, and what only they refuse."""

import math
import sys
import warnings
from copy import deepcopy

import pytest
import torch
from lightning.pytorch import Trainer
from sklearn import cluster, decomposition, mixture
from torch.distributions import MultivariateNormal

from tests.test_models import QUIET, batch, fit
from vae_lab import pictures, runs
from vae_lab.contracts import Batch, Clusters, Converges, Decodes, Density, Encodes, Samples
from vae_lab.data import Digits
from vae_lab.drawings import DRAWINGS
from vae_lab.errors import LabError
from vae_lab.metrics.clusters import cluster_accuracy, match, mutual_information
from vae_lab.metrics.codes import pca_reconstruction, squared_error_per_image
from vae_lab.metrics.samples import draw as draw_samples
from vae_lab.metrics.suite import measure
from vae_lab.models import PCA, VAE, GaussianMixture, KMeans

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore:.*treespec"
)
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def digits():
    """All training and test digits."""
    data = Digits()
    return data.images("train"), data.images("test")


def learned(model, images):
    """Fit without a trainer."""
    model.seed = 0
    model.learn(images.x.flatten(1))
    return model.eval()


@pytest.fixture(scope="module")
def gaussian_mixture(digits):
    return learned(GaussianMixture(SHAPE, 10, 20), digits[0])


@pytest.fixture(scope="module")
def kmeans(digits):
    return learned(KMeans(SHAPE), digits[0])


# mathematics


@pytest.mark.parametrize("k", [1, 30, 64])
def test_pca_restores_exactly_what_the_reference_metric_does(digits, k):
    train, test = digits
    model = learned(PCA(SHAPE, k), train)
    expected = pca_reconstruction(train.x, test.x, k)
    torch.testing.assert_close(model(test.x), expected, rtol=0, atol=2e-5)
    error = squared_error_per_image(test.x, expected).mean().item()
    assert model.terms(test)["loss"].mean() == pytest.approx(error, abs=1e-4)


def test_no_linear_code_of_as_many_dimensions_restores_better_than_pca(digits):
    x = digits[0].x.flatten(1)
    model = learned(PCA(SHAPE, 5), digits[0])
    other = torch.linalg.qr(torch.randn(64, 5, generator=torch.Generator().manual_seed(0)))[0]
    restored = (x - x.mean(0)) @ other @ other.T + x.mean(0)
    assert model.terms(digits[0])["loss"].mean() < (x - restored).square().sum(1).mean()
    codes = model.encode(digits[0].x)
    torch.testing.assert_close(codes.mean(0), torch.zeros(5), rtol=0, atol=1e-4)
    covariance = codes.T.cov()
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-3 * covariance.max()


def test_kmeans_is_a_fixed_point_of_lloyds_iteration(digits, kmeans):
    train, test = digits
    x = train.x.flatten(1)
    found = kmeans.cluster(train.x)
    means = torch.stack([x[found == k].mean(0) for k in range(10)])
    torch.testing.assert_close(kmeans.centroids, means, rtol=0, atol=0.02)
    reference = cluster.KMeans(10, n_init=10, random_state=0).fit(x.numpy())
    assert kmeans.terms(train)["loss"].sum() == pytest.approx(reference.inertia_, rel=1e-4)
    assert (kmeans.cluster(test.x).numpy() == reference.predict(test.x.flatten(1).numpy())).all()


def test_a_code_of_kmeans_names_one_centroid_and_decodes_to_it(digits, kmeans):
    x = digits[1].x
    codes = kmeans.encode(x)
    assert (codes.sum(1) == 1).all()
    assert set(codes.unique().tolist()) == {0, 1}
    torch.testing.assert_close(kmeans(x).flatten(1), kmeans.centroids[kmeans.cluster(x)])


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize(("count", "pca_dim"), [(60, 4), (300, 20), (1500, 20)])
def test_ems_likelihood_never_falls(digits, count, pca_dim, covariance):
    images = Batch(digits[0].x[:count], digits[0].y[:count])
    model = learned(GaussianMixture(SHAPE, 8, pca_dim, covariance), images)
    curve = model.log_likelihoods
    assert curve.diff().min() >= -1e-4  # the rounding of numbers near 100 in single precision
    assert curve[-1] > curve[0]


def test_ems_last_likelihood_is_the_models_own(digits, gaussian_mixture):
    own = gaussian_mixture.log_prob(digits[0].x).mean()
    # EM measures before its last step, which may still gain less than its tolerance.
    assert gaussian_mixture.log_likelihoods[-1] - 0.01 < own
    assert own < gaussian_mixture.log_likelihoods[-1] + 0.1


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_the_density_is_that_of_normals_over_all_pixels(digits, covariance):
    model = learned(GaussianMixture(SHAPE, 4, 6, covariance), digits[0])
    x = digits[1].x[:50]
    off = torch.eye(64) - model.axes.T @ model.axes
    spread = model.scale_tril @ model.scale_tril.mT
    covariances = model.axes.T @ spread @ model.axes + model.variance * off
    means = model.mean + model.means @ model.axes
    normals = MultivariateNormal(means.double(), covariances.double())
    joint = model.weights.log() + normals.log_prob(x.flatten(1).double()[:, None])
    torch.testing.assert_close(model.log_prob(x).double(), joint.logsumexp(1), rtol=0, atol=0.05)
    torch.testing.assert_close(model.encode(x).double(), joint.softmax(1), rtol=0, atol=1e-2)
    if covariance == "diag":
        assert (spread - spread.diagonal(0, 1, 2).diag_embed()).abs().max() == 0


def test_the_mixture_is_scikit_learns_in_the_plane(digits, gaussian_mixture):
    train, test = (images.x.flatten(1).numpy() for images in digits)
    plane = decomposition.PCA(20, random_state=0).fit(train)
    em = mixture.GaussianMixture(10, random_state=0, max_iter=200)
    em.fit(plane.transform(train).astype("float64"))
    codes = gaussian_mixture.encode(digits[1].x)
    torch.testing.assert_close(codes.sum(1), torch.ones(len(test)))
    expected = torch.from_numpy(em.predict(plane.transform(test).astype("float64")))
    assert (gaussian_mixture.cluster(digits[1].x) == expected).double().mean() > 0.99


def test_samples_have_the_moments_of_the_mixture(gaussian_mixture):
    torch.manual_seed(0)
    samples = gaussian_mixture.sample(4000)
    assert samples.min() >= 0
    assert samples.max() <= 1
    expected = gaussian_mixture.decode(gaussian_mixture.weights[None])
    assert (samples.mean(0) - expected[0]).abs().mean() < 0.02


def test_components_are_drawn_as_often_as_their_weights_say(gaussian_mixture):
    model = deepcopy(gaussian_mixture)
    model.weights.zero_()[3] = 1
    assert (gaussian_mixture.cluster(model.sample(500)) == 3).double().mean() > 0.8


def test_a_mixture_of_every_dimension_has_nothing_off_its_plane(digits):
    model = learned(GaussianMixture(SHAPE, 2, 64, floor=1e-3), digits[0])
    own = model.log_prob(digits[0].x).mean()
    assert own.isfinite()
    assert own == pytest.approx(model.log_likelihoods[-1].item(), abs=0.1)


def test_em_says_in_one_sentence_that_it_stopped_too_early(digits, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned(GaussianMixture(SHAPE, 10, 20, iterations=2), digits[0])
    said = capsys.readouterr().err
    assert said == "EM stopped at --model.iterations 2 before it converged; raise it.\n"
    learned(GaussianMixture(SHAPE, 2, 2), digits[0])
    assert capsys.readouterr().err == ""


# capabilities, metrics and pictures


def test_each_says_what_it_can(gaussian_mixture, kmeans):
    def can(model):
        every = (Encodes, Decodes, Samples, Clusters, Density, Converges)
        return {capability for capability in every if isinstance(model, capability)}

    assert can(PCA(SHAPE)) == {Encodes, Decodes}
    assert can(kmeans) == {Encodes, Decodes, Clusters}
    assert can(gaussian_mixture) == {Encodes, Decodes, Samples, Clusters, Density, Converges}
    assert can(VAE(SHAPE)) == {Encodes, Decodes, Samples}


def test_clusters_are_matched_one_to_one_for_the_most_images():
    # Majority would give both clusters class 0; one to one, cluster 1 has to take class 1.
    clusters = torch.tensor([0] * 10 + [1] * 5)
    labels = torch.tensor([0] * 10 + [0] * 3 + [1] * 2)
    assert match(clusters, labels).tolist() == [0, 1]
    assert cluster_accuracy(clusters, labels, clusters, labels) == pytest.approx(12 / 15)


def test_names_of_clusters_do_not_matter_and_labels_scored_are_not_looked_at():
    labels = torch.arange(30) % 3
    renamed = (labels + 1) % 3
    assert cluster_accuracy(renamed, labels, renamed, labels) == 1
    assert cluster_accuracy(renamed, labels, labels, labels) == 0
    assert mutual_information(renamed, labels) == pytest.approx(1)
    assert mutual_information(torch.zeros(30), labels) == 0


def test_clusters_without_a_class_are_counted_as_wrong():
    few = torch.tensor([0, 1, 2, 0])
    labels = torch.tensor([0, 1, 1, 0])
    assert sorted(match(few, labels).tolist()) == [-1, 0, 1]
    assert cluster_accuracy(few, labels, torch.tensor([0, 7]), torch.tensor([0, 1])) == 0.5
    with pytest.raises(LabError, match="do not match"):
        match(few, labels[:2])


def test_samples_without_the_noise_of_pixels_are_called_so(gaussian_mixture):
    assert draw_samples(gaussian_mixture, 3, 0).name == "samples (means given codes)"


def test_the_suite_measures_clusters_and_leaves_out_neighbours_of_equal_codes(
    digits, kmeans, gaussian_mixture
):
    def found(model):
        return measure(model, digits[1], lambda: digits[0], samples=0, seed=2**33)

    of_kmeans, of_mixture, of_pca = map(
        found, (kmeans, gaussian_mixture, learned(PCA(SHAPE, 10), digits[0]))
    )
    own = {"cluster_accuracy", "cluster_nmi"}
    assert own <= of_kmeans.keys() & of_mixture.keys()
    assert "knn_accuracy" not in of_kmeans
    assert not {"kmeans_accuracy"} & of_kmeans.keys()
    assert {"knn_accuracy", "kmeans_accuracy", "kmeans_nmi"} <= of_pca.keys()
    assert not own & of_pca.keys()
    assert of_kmeans["cluster_accuracy"].value > 0.6
    unlabelled = Batch(digits[1].x, torch.zeros_like(digits[1].y))
    assert not own & measure(kmeans, unlabelled, lambda: unlabelled, samples=0, seed=0).keys()
    assert of_pca["kmeans_accuracy"].value == pytest.approx(
        of_kmeans["cluster_accuracy"].value, abs=0.15
    )
    assert of_pca["squared_error"].value == pytest.approx(
        of_pca["pca_squared_error"].value, abs=1e-4
    )
    assert of_mixture["log_density"].value == pytest.approx(
        gaussian_mixture.log_prob(digits[1].x).mean().item(), abs=1e-3
    )


def test_clusters_and_the_likelihood_are_drawn(digits, gaussian_mixture, monkeypatch):
    seen = []
    monkeypatch.setattr(pictures, "clusters", lambda images, *words: seen.append((images, *words)))
    drawings = {kind: DRAWINGS[kind].draw for kind in ("clusters", "likelihood_curve")}
    drawings["clusters"](gaussian_mixture, digits[1])
    images, captions, _ = seen[0]
    assert images.shape == (10, *SHAPE)
    found = gaussian_mixture.cluster(digits[1].x) == 3
    commonest = digits[1].y[found].mode().values
    assert captions[3] == f"{commonest}: {found.double().mean():.0%}"
    monkeypatch.undo()
    for draw in drawings.values():
        picture = draw(gaussian_mixture, digits[1])
        assert picture.shape[0] == 3
        assert 0 <= picture.min() < picture.max() <= 1


@pytest.mark.parametrize("count", [1, 10, 13])
def test_a_tile_stands_for_each_cluster(count):
    picture = pictures.clusters(torch.rand(count, *SHAPE), [f"{k}: 5%" for k in range(count)])
    assert picture.shape[0] == 3
    with pytest.raises(LabError, match="captions"):
        pictures.clusters(torch.rand(count, *SHAPE), ["one"] * (count + 1))


def test_each_cluster_has_its_own_caption_in_every_row(monkeypatch):
    drawing, said = sys.modules["vae_lab.pictures.clusters"], []
    write = drawing.captioned
    monkeypatch.setattr(
        drawing, "captioned", lambda *a, **k: said.extend(k.get("columns", [])) or write(*a, **k)
    )
    pictures.clusters(torch.rand(13, *SHAPE), [f"{k}" for k in range(13)])
    assert said == [*(f"{k}" for k in range(13)), *[""] * 7]


@pytest.mark.parametrize("wrong", [torch.empty(0), torch.tensor([math.nan]), torch.zeros(2, 2)])
def test_a_curve_of_no_numbers_is_refused(wrong):
    with pytest.raises(LabError, match="curve"):
        pictures.curve(wrong, "y")


# training


def test_one_command_leaves_a_run_with_its_curve_and_a_checkpoint_that_is_enough(lab, here):
    lab(
        "fit", "--data=Digits", "--model=GaussianMixture", "--model.pca_dim=10", "--name=em",
        "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false",
        "--pictures.kinds=[samples,clusters,likelihood_curve]",
    )  # fmt: skip
    run = runs.find("runs/em")
    assert set(run.pictures) == {"samples", "clusters", "likelihood_curve"}
    model = runs.load_model(run.checkpoint())
    steps, values = zip(*run.curves()["train/log_likelihood"], strict=True)
    assert steps == tuple(range(1, len(values) + 1))
    torch.testing.assert_close(torch.tensor(values), model.log_likelihoods)
    train = Digits().images("train")
    assert run.curves()["train/loss"][0][1] == pytest.approx(
        -model.log_prob(train.x).mean().item(), abs=1e-3
    )
    assert model.images_seen == len(train.x)
    lab("evaluate", "runs/em")
    assert {"test/cluster_accuracy", "test/log_density"} <= run.scores.keys()


@pytest.mark.parametrize(
    "trainer", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 3}, {"precision": "bf16-mixed"}]
)
def test_training_that_is_not_one_pass_in_single_precision_is_refused(trainer, tmp_path):
    with pytest.raises(LabError, match="PCA is fitted to all images at once"):
        fit(PCA(SHAPE, 4), tmp_path, **trainer)


def test_training_that_would_stop_before_the_fit_is_refused(tmp_path):
    with pytest.raises(LabError, match=r"after 4 steps, which --trainer.max_steps forbids"):
        fit(KMeans(SHAPE, 4), tmp_path, n=64, max_steps=2)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_from_before_the_fit_is_refused(tmp_path):
    checkpoint = fit(PCA(SHAPE, 4), tmp_path)
    stored = torch.load(checkpoint, weights_only=True)
    stored["progress"]["images_seen"] = 0
    torch.save(stored, checkpoint)
    with pytest.raises(LabError, match="before PCA was fitted"):
        runs.load_model(checkpoint)


def test_a_finished_run_that_goes_on_has_nothing_to_do(tmp_path):
    checkpoint = fit(KMeans(SHAPE, 4), tmp_path)
    model = runs.load_model(checkpoint).train()
    before = model.centroids.clone()
    Trainer(max_epochs=1, **QUIET).fit(model, [], ckpt_path=checkpoint, weights_only=True)
    assert torch.equal(model.centroids, before)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: PCA(SHAPE, 65), "latent_dim is between 1 and the number of pixels, 64"),
        (lambda: PCA(SHAPE, 33), "latent_dim is between 1 and the number of images, 32"),
        (lambda: KMeans(SHAPE, 33), "clusters is between 1 and the number of images, 32"),
        (lambda: KMeans(SHAPE, 0), "at least 1"),
        (lambda: GaussianMixture(SHAPE, 33, 4), "components is between 1 and the number of images"),
        (lambda: GaussianMixture(SHAPE, 2, 40), "pca_dim is between 1 and the number of images"),
        (lambda: GaussianMixture(SHAPE, 2, 65), "pca_dim is between 1 and the number of pixels"),
        (lambda: GaussianMixture(SHAPE, 0), "at least 1"),
        (lambda: GaussianMixture(SHAPE, floor=0.0), "floor is a finite number above 0"),
        (lambda: GaussianMixture(SHAPE, covariance="tied"), "is one of full, diag, not 'tied'"),
    ],
)
def test_more_than_there_is_is_refused_in_one_sentence(make, reason):
    with pytest.raises(LabError, match=reason):
        learned(make(), Batch(batch(SHAPE, 32).x, torch.zeros(32)))
