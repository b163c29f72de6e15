"""The service's work without HTTP.

Threads read, preprocess and predict encoded images, as the service does, in one process.
"""

from benchmarks.workers.timing import arguments, report, with_callers
from mammoscope.imaging.network_input import make_network_input
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.engine import load_engine
from mammoscope.settings.service import ServiceSettings
from mammoscope.system.allocator import keep_memory


def main() -> None:
    """Measure and print; ``--images`` is a folder, and ``--how`` is unused."""
    options = arguments()
    encoded = [path.read_bytes() for path in sorted(options.images.iterdir())]
    engine = load_engine(load_artifact(options.network))
    reading = engine.card.reading_options()

    def predict(number: int) -> None:
        read = make_network_input(encoded[number % len(encoded)], reading)
        engine.infer(read.preprocessed.pixels[None])

    keep_memory()  # as the processes that read images
    callers = ServiceSettings().concurrency
    report(("openvino",), per_s=with_callers(predict, options.seconds, callers))


if __name__ == "__main__":
    main()
