"""The names of what a judge says of samples, for those who only read numbers: without torch."""

__all__ = ["JUDGED"]

JUDGED = (
    *("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"),
    *("classes_covered", "class_entropy", "label_agreement", "least_label_agreement"),
    "judge_feature_error",
)
"""Another judge would say something else, so these compare under one judge only."""
