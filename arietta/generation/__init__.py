"""A loaded model -> music: engine, sampling, constraints, continuation."""
