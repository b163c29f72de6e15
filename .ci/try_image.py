"""Try the service inside the image being built: every coding it reads, and the model it serves.

Loading the model checks the sha256 of its files. Fails where an image is refused, an answer is no
probability or the network was not compiled at build; where it passes, nothing that is needed was
pruned.
"""

import time
from typing import Any, Final

import predict
from mammoscope.imaging.reading import read
from mammoscope.phantoms.dicom import SYNTAXES, Encoding, encode_phantom
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

READY_WITHIN_S: Final = 600


def main() -> int:
    """Try; 0, or an exception that says what failed."""
    phantom = draw_phantom(PhantomConfig(seed=1))
    for name, syntax in SYNTAXES.items():
        encoding = Encoding(name, bits=12 if 12 in syntax.bits else syntax.bits[-1])
        image = encode_phantom(phantom, encoding)
        mammogram = read(image, predict.settings)
        print(f"{name}: {len(image)} bytes read as {mammogram.pixels.shape}")
    client = predict.app.test_client()
    deadline = time.monotonic() + READY_WITHIN_S
    while client.get("/readyz").get_json().get("code") == "not_ready":
        if time.monotonic() > deadline:
            raise TimeoutError("the model is not loaded in time")
        time.sleep(0.5)
    answer: Any = client.post("/predict", data=image, content_type="application/dicom")
    if answer.status_code != 200 or not 0.0 <= answer.get_json()["probability"] <= 1.0:
        raise ValueError(f"the service answered {answer.status}: {answer.get_data(as_text=True)}")
    print(f"answered: {answer.get_json()['label']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
