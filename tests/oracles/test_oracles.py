import pytest

from tests.oracles.bandits import BANDITS
from tests.oracles.bc_diffusion import BC_DIFFUSION, BIMODAL
from tests.oracles.distributions import DISTRIBUTIONS
from tests.oracles.exact import EXACT
from tests.oracles.ma_bcq import MA_BCQ
from tests.oracles.ma_cql import MA_CQL
from tests.oracles.ma_icq import MA_ICQ
from tests.oracles.ma_td3bc import MA_TD3BC
from tests.oracles.omiga import OMIGA_ROWS
from tests.oracles.weighted import TRAINED


@pytest.mark.parametrize(
    "oracle", [*EXACT, *MA_TD3BC, *MA_BCQ, *MA_CQL, *MA_ICQ, *OMIGA_ROWS, *BC_DIFFUSION], ids=lambda oracle: oracle.name
)
def test_exact(oracle):
    seen, held = oracle.check()
    assert held, f"{oracle.what}: seen {seen:.3g}, tolerance {oracle.tolerance}"


@pytest.mark.slow
@pytest.mark.parametrize("oracle", [*DISTRIBUTIONS, *BIMODAL, *BANDITS, *TRAINED], ids=lambda oracle: oracle.name)
def test_statistical(oracle):
    seen, held = oracle.check()
    assert held, f"{oracle.what}: seen {seen:.3g}, tolerance {oracle.tolerance}"
