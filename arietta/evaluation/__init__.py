"""One metric family a file: how good a model is, beside its floor."""
