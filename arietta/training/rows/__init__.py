"""Make training rows from a dataset."""
