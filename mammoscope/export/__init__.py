"""The precision in which a model is served: bfloat16 only where its scores stay."""
