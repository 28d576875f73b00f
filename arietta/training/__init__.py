"""Train models from recipes; needs the extra ``train``."""
