"""A loaded model -> music: backends, engine, sampling, continuation."""
