"""The Aria decoder: settings, weights, torch module, graph, executors."""
