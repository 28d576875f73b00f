"""Torch modules for training and for GPUs; ``config`` alone is torch-free."""
