"""Evaluate models against baselines, one family of metrics a file."""
