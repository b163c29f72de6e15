"""Evaluate scores: metrics, aggregation, robustness, leakage and shortcuts."""
