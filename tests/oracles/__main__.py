"""`make oracles`: every oracle as a table, exact ones first; exit code 1 if one fails."""

import torch

from tests.oracles.every import EVERY_EXACT, EVERY_STATISTICAL
from tests.oracles.table import print_table

if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(0 if print_table([*EVERY_EXACT, *EVERY_STATISTICAL]) else 1)
