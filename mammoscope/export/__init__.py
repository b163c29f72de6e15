"""Choose the precision in which a model is served: fewer bits only if scores hardly change."""
