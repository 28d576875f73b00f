"""Pianist Transformer: settings, weights, torch module, graphs, executors."""
