"""Choose the precision in which a model is served: bfloat16 only if its scores hardly change."""
