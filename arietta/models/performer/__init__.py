"""The small rendering model: settings, weights, torch module, graph."""
