"""Metrics: pure functions of data and of a model's capabilities."""
