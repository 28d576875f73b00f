"""Recipes -> checkpoints. Needs the train extra."""
