"""The decoder as an OpenVINO graph, built from checkpoint tensors; no torch anywhere."""
