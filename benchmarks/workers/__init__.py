"""What runs inside the environments, each a process of its own that prints JSON."""
