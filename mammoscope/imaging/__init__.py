"""From image bytes to network input: reading, preprocessing, quality gate and heat map."""
