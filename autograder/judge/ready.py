"""Imported last by the fork server: what every worker would otherwise do for itself, 25 ms each.

It makes the shell and touches the generators for the first time. It starts no thread and runs no
cell, so a fork of the server begins as a fresh process does.
"""

from autograder.judge.seeds import seed_all
from autograder.judge.shell import CellShell

CellShell.make()
seed_all()
