"""Keras on TensorFlow: ``--how predict``, or ``--how function`` for one `tf.function`."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.workers.timing import Logits, Pixels, Score, arguments, engine_results, report


def _function(model: keras.Model, shape: tuple[int, ...]) -> Score:
    compiled = tf.function(
        lambda pixels: model(pixels, training=False)["logit"],
        input_signature=[tf.TensorSpec((None, *shape), tf.uint8)],
    )

    def score(pixels: Pixels) -> Logits:
        return np.asarray(compiled(tf.constant(pixels)).numpy()[:, 0], np.float32)

    return score


def main() -> None:
    """Measure and print."""
    options = arguments()
    pixels = np.load(options.images)
    model = keras.saving.load_model(options.network, compile=False)

    def predict(pixels: Pixels) -> Logits:
        return np.asarray(model.predict(pixels, verbose=0)["logit"][:, 0], np.float32)

    score = predict if options.how == "predict" else _function(model, pixels.shape[1:])
    report(("keras", "tensorflow"), **engine_results(score, pixels, options.seconds))


if __name__ == "__main__":
    main()
