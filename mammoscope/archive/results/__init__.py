"""Encode the predictions for a study as DICOM objects that an archive stores.

`predict_source` predicts one DICOM file; a refusal is a result, too. `encode_results` takes all
images of one study and returns its results: a Structured Report, and for each predicted image a
Segmentation with the heat map and a Secondary Capture that shows it. UIDs are drawn once, in
`encode_results`. Whoever stores results keeps ``data``, and sends the same bytes at every attempt.

::

    sources = [predict_source(data, engine, pool.read) for data in files]
    results = encode_results(sources, engine.card)
"""

from mammoscope.archive.results.encoding import encode_results
from mammoscope.archive.results.objects import ReportReference, ResultObject
from mammoscope.archive.results.source import (
    PredictedSource,
    RefusedSource,
    SourceImage,
    predict_source,
)

__all__ = [
    "PredictedSource",
    "RefusedSource",
    "ReportReference",
    "ResultObject",
    "SourceImage",
    "encode_results",
    "predict_source",
]
