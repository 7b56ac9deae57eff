"""Numbers that compare models: pure functions of data and of what a model is able to do."""
