"""The network, the folder that it lives in, and the engine that runs it."""
