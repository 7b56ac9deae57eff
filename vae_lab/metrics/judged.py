"""Names of the metrics that depend on a judge, for modules that do not import torch."""

__all__ = ["JUDGED"]

JUDGED = (
    *("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"),
    *("classes_covered", "class_entropy", "label_agreement", "least_label_agreement"),
    "judge_feature_error",
)
"""Numbers by different judges do not compare."""
