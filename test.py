"""Ask a running service about images: ``python test.py URL|FILE|FOLDER…``."""

import sys

from mammoscope.cli.remote import main

if __name__ == "__main__":
    sys.exit(main())
