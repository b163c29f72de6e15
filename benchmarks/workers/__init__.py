"""Programs that run inside the environments, each in a separate process that prints JSON."""
