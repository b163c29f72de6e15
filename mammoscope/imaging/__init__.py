"""Bytes to network input: reading, preprocessing, the quality gate and the heat map."""
