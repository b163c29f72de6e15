"""A head fitted by logistic regression on the backbone's features.

A random head would first turn the backbone's features upside down to fit noise; on a few thousand
images they do not recover.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from mammoscope.data.splitting import PatientSplit, folds
from mammoscope.model.networks import POOLED, set_head
from mammoscope.settings import TrainConfig
from mammoscope.training.batches import Pixels, PreprocessedExamples, augmented

Features = npt.NDArray[np.float32]

_INVERSE_PENALTY: Final = 1e-4
"""Inverse strength of the ridge penalty on standardised features, for one pass over the images.

With some thousand features it matters by its order of magnitude only.
"""

_ITERATIONS: Final = 300
_BATCH: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    scaler: StandardScaler
    model: LogisticRegression

    @classmethod
    def fit(cls, passes: Sequence[Features], labels: npt.NDArray[np.int64]) -> "_Head":
        """Fit to the same images seen several times, each (N, D)."""
        stacked = np.concatenate(passes)
        scaler = StandardScaler().fit(stacked)
        model = LogisticRegression(C=_INVERSE_PENALTY / len(passes), max_iter=_ITERATIONS)
        return cls(scaler, model.fit(scaler.transform(stacked), np.tile(labels, len(passes))))

    def logits(self, features: Features) -> npt.NDArray[np.float32]:
        scores = self.model.decision_function(self.scaler.transform(features))
        return np.asarray(scores, dtype=np.float32)

    def put_into(self, network: keras.Model) -> None:
        set_head(
            network,
            self.scaler.mean_,
            self.scaler.var_,
            self.model.coef_[0],
            float(self.model.intercept_[0]),
        )


def fit_head(
    network: keras.Model, preprocessed: PreprocessedExamples, config: TrainConfig
) -> npt.NDArray[np.float32]:
    """Fit the head to images as they are and ``config.head_epochs`` times augmented anew.

    Parameters
    ----------
    network
        With head ``mean_max`` or ``depths``; its head is overwritten.
    preprocessed
        Training images.
    config
        Passes, augmentation and seed.

    Returns
    -------
    ndarray
        Logits of the images as they are, float32 (N,): what the head says of what it was
        fitted to.
    """
    passes = _features(network, preprocessed, config)
    head = _Head.fit(passes, _labels(preprocessed))
    head.put_into(network)
    return head.logits(passes[0])


def cross_fit_head(
    network: keras.Model, preprocessed: PreprocessedExamples, config: TrainConfig
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Fit the head to all images, and say what heads fitted without a patient say of them.

    Returns
    -------
    tuple
        Logits of the images as they are, float32 (N,): by the head fitted to all, and by the
        heads fitted to the other folds' patients; number of each image's fold from 0, int64
        (N,).
    """
    passes = _features(network, preprocessed, config)
    labels = _labels(preprocessed)
    place = {example: i for i, example in enumerate(preprocessed.examples)}
    logits = np.zeros(len(labels), dtype=np.float32)
    number_of = np.zeros(len(labels), dtype=np.int64)
    for number, (others, fold) in enumerate(
        folds(preprocessed.examples, config.folds, config.seed)
    ):
        PatientSplit(others, fold)  # refuses to exist if they share a patient
        learned, left_out = ([place[e] for e in part] for part in (others, fold))
        head = _Head.fit([features[learned] for features in passes], labels[learned])
        logits[left_out] = head.logits(passes[0][left_out])
        number_of[left_out] = number
    head = _Head.fit(passes, labels)
    head.put_into(network)
    return head.logits(passes[0]), logits, number_of


def _labels(preprocessed: PreprocessedExamples) -> npt.NDArray[np.int64]:
    return np.array([example.label for example in preprocessed.examples], dtype=np.int64)


def _features(
    network: keras.Model, preprocessed: PreprocessedExamples, config: TrainConfig
) -> list[Features]:
    """Pooled features (N, D) of the images as they are, then of each augmented pass."""
    passes = [None, *range(config.head_epochs)]
    extractor = keras.Model(network.input, network.get_layer(POOLED).output)
    count = len(preprocessed.pixels)
    found = []
    with tqdm(total=len(passes) * count, desc="features", unit="image", disable=None) as bar:
        for number in passes:
            parts = []
            for start in range(0, count, _BATCH):
                indices = range(start, min(start + _BATCH, count))
                batch = [_seen(preprocessed.pixels, config, number, i) for i in indices]
                answer: Any = extractor.predict_on_batch(np.stack(batch)[..., None])
                parts.append(np.asarray(keras.ops.convert_to_numpy(answer), dtype=np.float32))
                bar.update(len(batch))
            found.append(np.concatenate(parts))
    return found


def _seen(pixels: Pixels, config: TrainConfig, number: int | None, index: int) -> Pixels:
    return pixels[index] if number is None else augmented(pixels[index], config, number, index)
