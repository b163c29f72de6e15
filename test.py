"""Ask a running service about images: ``python test.py URL|FILE|FOLDER…``."""

import sys

from mammoscope.system.interrupts import quitting_on_ctrl_c

if __name__ == "__main__":
    with quitting_on_ctrl_c():
        from mammoscope.cli.remote import main
    sys.exit(main())
