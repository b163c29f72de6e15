"""Fine-tune a network on a folder of mammograms; `mammoscope.cli.train` does it."""

import sys

from mammoscope.cli.train import main, parser

__all__ = ["main", "parser"]

if __name__ == "__main__":
    sys.exit(main())
