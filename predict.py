"""The service: ``python predict.py``, or ``gunicorn predict:app``."""

import sys

__all__ = ["app", "settings"]

if __name__ == "__main__":
    from mammoscope.__main__ import main

    sys.exit(main(["serve", *sys.argv[1:]]))
else:
    from mammoscope.service.wsgi import app, settings
