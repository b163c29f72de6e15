"""Train a model: ``python train.py`` is ``mammoscope train``."""

import sys

from mammoscope.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
