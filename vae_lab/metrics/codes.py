"""Quality of codes: squared error, nearest neighbours and linear probe."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vae_lab.contracts import Batch
from vae_lab.errors import LabError
from vae_lab.metrics.measures import in_batches
from vae_lab.precision import doubled

__all__ = [
    "knn_accuracy",
    "linear_probe",
    "linear_probe_accuracy",
    "pca_reconstruction",
    "restoration_errors",
    "squared_error_per_image",
]


def squared_error_per_image(x: Tensor, x_hat: Tensor) -> Tensor:
    r"""Return :math:`\sum_i (x_i - \hat{x}_i)^2` over all pixels, not clipped, shape (N,).

    Its mean over all test images, with pixels in [0, 1], is the protocol of Hinton &
    Salakhutdinov's 13.87 for 30 principal components of MNIST.

    Args:
        x: Images, shape (N, ...).
        x_hat: Their reconstructions, the same shape.

    Raises:
        LabError: If the shapes differ.

    References:
        Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
        https://doi.org/10.1126/science.1127647
    """
    if x.shape != x_hat.shape:
        raise LabError(
            f"Images of shape {tuple(x.shape)} cannot be compared with reconstructions of shape "
            f"{tuple(x_hat.shape)}."
        )
    return doubled((x - x_hat).flatten(1).square()).sum(1)


def restoration_errors(
    model: Any, images: Batch, see: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """Return squared errors of reconstructions in pixels, or in features `see`, shape (N,)."""

    def errors(x: Tensor, y: Tensor) -> Tensor:
        return squared_error_per_image(see(x), see(model.decode(model.encode(x, y), y)))

    return in_batches(model, images, errors)


def pca_reconstruction(train: Tensor, test: Tensor, k: int) -> Tensor:
    """Reconstruct images from the first `k` principal components of other images.

    Args:
        train: Images that determine mean and components, shape (M, ...).
        test: Images to reconstruct, shape (N, ...).
        k: Size of the code.

    Returns:
        Reconstructions, the shape of `test`, in single precision, not clipped.

    Raises:
        LabError: If `k` is below one, or above the number of pixels or of training images.
    """
    from sklearn.decomposition import PCA

    columns = train.flatten(1)
    if not 1 <= k <= min(columns.shape):
        raise LabError(
            f"PCA of {len(columns)} images of {columns.shape[1]} pixels has between 1 and "
            f"{min(columns.shape)} components; {k} were asked for."
        )
    # The seed matters for large images only, whose components come from random projections.
    pca = PCA(k, random_state=0).fit(_array(columns))
    restored = pca.inverse_transform(pca.transform(_array(test.flatten(1))))
    return torch.from_numpy(restored).float().reshape(test.shape)


def knn_accuracy(
    train_codes: Tensor,
    train_labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    k: int = 5,
) -> float:
    """Return the accuracy of a k-nearest-neighbours classifier of codes.

    Distances are Euclidean.

    Args:
        train_codes: Codes with known labels, shape (M, D).
        train_labels: Class indices, shape (M,).
        test_codes: Codes to classify, shape (N, D).
        test_labels: Their true class indices, shape (N,).
        k: Number of neighbours that vote.

    Raises:
        LabError: If there are fewer than `k` training codes.
    """
    from sklearn.neighbors import KNeighborsClassifier

    if not 1 <= k <= len(train_codes):
        raise LabError(f"{k} neighbours cannot be found among {len(train_codes)} codes.")
    classifier = KNeighborsClassifier(k).fit(_array(train_codes), _array(train_labels))
    return float(classifier.score(_array(test_codes), _array(test_labels)))


def linear_probe_accuracy(
    train_codes: Tensor, train_labels: Tensor, test_codes: Tensor, test_labels: Tensor
) -> float:
    """Return the accuracy of logistic regression on standardised codes.

    The probe is scikit-learn's, with its default L2 penalty (C = 1).

    Args:
        train_codes: Codes to fit, shape (M, D).
        train_labels: Class indices, shape (M,).
        test_codes: Codes to classify, shape (N, D).
        test_labels: Their true class indices, shape (N,).

    Raises:
        LabError: If the training labels are all of one class.
    """
    if len(torch.unique(train_labels)) < 2:
        raise LabError("A linear probe needs training labels of at least two classes.")
    probe = linear_probe(train_codes, train_labels)
    return float(probe.score(_array(test_codes), _array(test_labels)))


def linear_probe(codes: Tensor, labels: Tensor) -> Any:
    """Return scikit-learn's logistic regression, fitted to standardised codes (N, D)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return probe.fit(_array(codes), _array(labels))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()
