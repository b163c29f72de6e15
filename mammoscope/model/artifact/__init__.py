"""A model folder: the network, and the card that belongs to it."""
