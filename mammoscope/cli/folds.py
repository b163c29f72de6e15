"""Divide the training and validation patients into folds.

Write the table of folds by patient, stratified by machine and label, and print its counts. The same
images always give the same table.
"""

import argparse
from collections import Counter
from pathlib import Path

from mammoscope.cli.arguments import Subparsers, add_command, add_labels, read_labelled
from mammoscope.data.fold_table import FOLDS, assign_folds, write_folds
from mammoscope.data.split_table import hashed


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="the images")
    add_labels(parser)
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="table to write")


def run(args: argparse.Namespace) -> int:
    """Write the table and print a line for each fold; return 0.

    Raises
    ------
    DatasetError
        If the images cannot be divided.
    StorageError
        If the table cannot be written.
    """
    dataset = read_labelled(args.data, labels=args.labels)
    examples = [each for each in dataset.examples if each.split != "test"]
    table = assign_folds(examples)
    machines = sorted({each.facts.machine_id or "" for each in examples})
    columns = "".join(f"{f'machine {name}':>13}" for name in machines)
    print(f"{'fold':>4}{'patients':>10}{'images':>8}{'label 1':>9}{columns}   (label 0 + label 1)")
    for fold in range(1, FOLDS + 1):
        part = [each for each in examples if table[hashed(each.patient_id)] == fold]
        counts = Counter((each.facts.machine_id or "", each.label) for each in part)
        cells = "".join(f"{f'{counts[name, 0]} + {counts[name, 1]}':>13}" for name in machines)
        patients = sum(number == fold for number in table.values())
        print(f"{fold:>4}{patients:>10}{len(part):>8}{sum(e.label for e in part):>9}{cells}")
    write_folds(table, args.output)
    return 0
