"""How good scores are: metrics, aggregation, robustness, leakage and shortcuts."""
