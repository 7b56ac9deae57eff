"""`lab compare` and `lab dashboard`: runs side by side, as a table, a page or a workspace."""
