"""What the architectures share: our own kernel, packed weights, parts of an OpenVINO graph."""
