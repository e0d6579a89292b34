"""Every oracle: exact ones, which take milliseconds to seconds, and statistical ones, which train."""

from tests.oracles.bandits import BANDITS
from tests.oracles.bc_diffusion import BC_DIFFUSION, BIMODAL
from tests.oracles.distributions import DISTRIBUTIONS
from tests.oracles.exact import EXACT
from tests.oracles.legal_actions import LEGAL_ACTIONS
from tests.oracles.ma_bcq import MA_BCQ
from tests.oracles.ma_cql import MA_CQL
from tests.oracles.ma_icq import MA_ICQ
from tests.oracles.ma_td3bc import MA_TD3BC
from tests.oracles.mac_flow import MAC_FLOW, MAC_FLOW_TRAINED
from tests.oracles.om2p import OM2P_ROWS, ONE_STEP
from tests.oracles.omiga import OMIGA_ROWS
from tests.oracles.planner import COORDINATION, PLANNER
from tests.oracles.planner_target import TARGET
from tests.oracles.weighted import TRAINED

EVERY_EXACT = [
    *EXACT,
    *MA_TD3BC,
    *MA_BCQ,
    *MA_CQL,
    *MA_ICQ,
    *OMIGA_ROWS,
    *BC_DIFFUSION,
    *MAC_FLOW,
    *OM2P_ROWS,
    *PLANNER,
]
EVERY_STATISTICAL = [
    *DISTRIBUTIONS,
    *BIMODAL,
    *BANDITS,
    *TRAINED,
    *MAC_FLOW_TRAINED,
    *ONE_STEP,
    *COORDINATION,
    *TARGET,
    *LEGAL_ACTIONS,
]
