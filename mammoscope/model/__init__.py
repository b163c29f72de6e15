"""The network, the model folder, and the inference engine."""
