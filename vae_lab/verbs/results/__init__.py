"""`lab results`: the published table and its figures, from an index of rows to two pages."""
