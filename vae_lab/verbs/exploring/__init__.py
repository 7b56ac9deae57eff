"""`lab explore`: a page that decodes codes live."""
