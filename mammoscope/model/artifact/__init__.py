"""A model folder: the network and its card."""
