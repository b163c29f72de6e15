"""Measures of scored images, with intervals clustered by patient; NumPy only.

Scores are taken at three levels: image, breast (mean of the logits of its views) and patient
(maximum of the breasts). Every interval is a 95 % percentile interval of 2,000 resamples of
patients, so that the several images of one patient are not counted as independent.
"""
