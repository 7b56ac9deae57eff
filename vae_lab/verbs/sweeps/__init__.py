"""`lab sweep`: what a W&B sweep file describes, trained by processes that share one queue."""
