"""`make oracles`: every oracle as a table, exact ones first; exit code 1 if one fails."""

import torch

from tests.oracles.bandits import BANDITS
from tests.oracles.bc_diffusion import BC_DIFFUSION, BIMODAL
from tests.oracles.distributions import DISTRIBUTIONS
from tests.oracles.exact import EXACT
from tests.oracles.ma_bcq import MA_BCQ
from tests.oracles.ma_cql import MA_CQL
from tests.oracles.ma_icq import MA_ICQ
from tests.oracles.ma_td3bc import MA_TD3BC
from tests.oracles.omiga import OMIGA_ROWS
from tests.oracles.table import print_table
from tests.oracles.weighted import TRAINED

if __name__ == "__main__":
    torch.set_num_threads(1)
    exact = [*EXACT, *MA_TD3BC, *MA_BCQ, *MA_CQL, *MA_ICQ, *OMIGA_ROWS, *BC_DIFFUSION]
    raise SystemExit(0 if print_table([*exact, *DISTRIBUTIONS, *BIMODAL, *BANDITS, *TRAINED]) else 1)
