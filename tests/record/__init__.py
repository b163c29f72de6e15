"""What the package answers today, and how that is kept and compared.

Each group is a function that makes its entries anew and a file of JSON beside this one that keeps
them. Entries are plain JSON. Those that depend on the network say so under ``network``.

``python -m tests.record`` writes the files anew; ``tests/test_record.py`` compares them.
"""
