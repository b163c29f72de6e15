"""A head that starts where a regression on the backbone's features ends.

A random head would first turn the backbone's features upside down to fit noise; on a few thousand
pictures they do not recover.
"""

from typing import Final

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from mammoscope.networks import POOLED, set_head
from mammoscope.training.batches import Batches

_INVERSE_PENALTY: Final = 1e-4
"""Inverse strength of the ridge penalty on standardised features, for one pass over the pictures.

With some thousand features it matters by its order of magnitude only.
"""

_ITERATIONS: Final = 300


def fit_head(network: keras.Model, batches: Batches, passes: int) -> None:
    """Fit the head by logistic regression on the pooled features of augmented pictures.

    Parameters
    ----------
    network
        With head ``mean_max`` or ``depths``; its head is overwritten.
    batches
        Training pictures.
    passes
        How often each picture is seen, each time augmented anew; at least 1.
    """
    extractor = keras.Model(network.input, network.get_layer(POOLED).output)
    features, labels = [], []
    passes = max(passes, 1)
    with tqdm(total=passes * len(batches), desc="features", unit="batch", disable=None) as bar:
        for number in range(passes):
            batches.begin_epoch(number)
            for index in range(len(batches)):
                pixels, targets, _ = batches[index]
                features.append(keras.ops.convert_to_numpy(extractor.predict_on_batch(pixels)))
                labels.append(targets["logit"][:, 0])
                bar.update()
    scaler = StandardScaler().fit(np.concatenate(features))
    model = LogisticRegression(C=_INVERSE_PENALTY / passes, max_iter=_ITERATIONS)
    model.fit(scaler.transform(np.concatenate(features)), np.concatenate(labels))
    set_head(network, scaler.mean_, scaler.var_, model.coef_[0], float(model.intercept_[0]))
