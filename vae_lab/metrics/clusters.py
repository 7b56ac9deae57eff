"""Agreement of unsupervised clusters with classes."""

from collections.abc import Callable

import torch
from torch import Tensor

from vae_lab.contracts import Batch, Clusters
from vae_lab.errors import LabError
from vae_lab.metrics.measures import Measure, in_batches

__all__ = ["cluster_accuracy", "clustering", "code_clusters", "match", "mutual_information"]


def match(clusters: Tensor, labels: Tensor) -> Tensor:
    """Assign each cluster a different class, to maximise the number of correct images.

    Args:
        clusters: Cluster indices, shape (N,).
        labels: Class indices, shape (N,).

    Returns:
        The class of each cluster, shape (clusters,); -1 for clusters left over if there are more
        of them than classes.

    Raises:
        LabError: If `labels` and `clusters` differ in length, or are empty.

    References:
        Kuhn, The Hungarian method for the assignment problem, 1955.
        https://doi.org/10.1002/nav.3800020109
    """
    from scipy.optimize import linear_sum_assignment

    if not len(clusters) or clusters.shape != labels.shape:
        raise LabError(
            f"{tuple(clusters.shape)} clusters and {tuple(labels.shape)} labels do not match."
        )
    size = int(clusters.max()) + 1, int(labels.max()) + 1
    pairs = clusters.long() * size[1] + labels.long()
    counts = torch.bincount(pairs, minlength=size[0] * size[1]).view(size)
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    classes = torch.full((size[0],), -1)
    classes[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return classes


def cluster_accuracy(
    train_clusters: Tensor, train_labels: Tensor, clusters: Tensor, labels: Tensor
) -> float:
    """Return the share of images whose cluster is assigned their class.

    Classes are assigned by other images than those scored.

    Args:
        train_clusters: Clusters of the images that assign classes, shape (M,).
        train_labels: Class indices, shape (M,).
        clusters: Clusters of the images to classify, shape (N,).
        labels: Their true class indices, shape (N,).

    Raises:
        LabError: If clusters and labels differ in length.
    """
    classes = match(train_clusters, train_labels)
    # A cluster without a training image has no class.
    classes = torch.cat([classes, classes.new_full((int(clusters.max()) + 1,), -1)])
    return (classes[clusters.long()] == labels).double().mean().item()


def mutual_information(clusters: Tensor, labels: Tensor) -> float:
    """Return the normalised mutual information: I / mean(H, H), 0 if independent, at most 1.

    It is not adjusted for chance, which gives more than 0, most of all with few images.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels.numpy(), clusters.numpy()))


def clustering(model: Clusters, images: Batch, train: Callable[[], Batch]) -> dict[str, Measure]:
    """Measure how well clusters agree with classes; nothing if images have no class."""
    # Checked before the training images are loaded.
    if not images.has_several_classes or not (known := train()).has_several_classes:
        return {}
    train_clusters, clusters = (in_batches(model, of, model.cluster) for of in (known, images))
    data = train_clusters, known.y.cpu(), clusters, images.y.cpu()
    return _agreement("cluster", *data, "the model's clusters")


def code_clusters(
    train_codes: Tensor, train_labels: Tensor, codes: Tensor, labels: Tensor, seed: int
) -> dict[str, Measure]:
    """Measure how well k-means clusters of codes agree with classes.

    Args:
        train_codes: Codes to cluster, shape (M, D), into as many clusters as there are classes;
            the best of ten starts.
        train_labels: Class indices, shape (M,).
        codes: Codes to assign to these clusters, shape (N, D).
        labels: Their true class indices, shape (N,).
        seed: Seed of the starts.
    """
    from sklearn.cluster import KMeans

    k = len(torch.unique(train_labels))
    fitted = KMeans(k, n_init=10, random_state=seed % 2**32).fit(train_codes.float().numpy())
    clusters = torch.from_numpy(fitted.predict(codes.float().numpy()))
    data = torch.from_numpy(fitted.labels_), train_labels, clusters, labels
    return _agreement("kmeans", *data, f"{k} clusters that k-means finds in the codes")


def _agreement(
    name: str,
    train_clusters: Tensor,
    train_labels: Tensor,
    clusters: Tensor,
    labels: Tensor,
    what: str,
) -> dict[str, Measure]:
    accuracy = cluster_accuracy(train_clusters, train_labels, clusters, labels)
    how = f"{what}, each given one class by the Hungarian method on {len(train_labels)} images"
    nmi = mutual_information(clusters, labels)
    common = f"of the mean entropy of classes and {what} that they have in common"
    return {
        f"{name}_accuracy": Measure.share(accuracy, len(labels), how),
        f"{name}_nmi": Measure(nmi, "share", common),
    }
