"""A dataset -> rows that a model trains on."""
