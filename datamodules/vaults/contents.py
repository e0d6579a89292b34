"""Judges shapes and types of a vault's leaves when it is opened, before anything is read or written."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vgm2p.datamodules.sources.catalogue import Entry
from vgm2p.datamodules.vaults.declared import Declared
from vgm2p.datamodules.vaults.vault import FLAGS, Leaf, Vault
from vgm2p.errors import DataError

MOST_ACTIONS = np.iinfo(np.int16).max  # our layout stores indices as int16
LEGALS, STATE = "infos.legals", "infos.state"


@dataclass
class Contents:
    """What a vault contains.

    Attributes:
        agents: number of agents N.
        discrete: whether actions are indices.
        width: width of one agent's action if continuous, number of actions if discrete.
        notices: what was inferred, as lines for the user.
    """

    agents: int
    discrete: bool
    width: int
    notices: list[str] = field(default_factory=list)


def contents_of(vault: Vault, declared: Declared, entry: Entry | None) -> Contents:
    """Return what a vault contains.

    Raises:
        DataError: if a leaf has a shape or type that our layout cannot hold, leaves contradict one another, or the
            vault contradicts its entry in the catalogue.
    """
    observed = _judged(vault, "observations", 2)
    agents = observed.shape[0]
    if entry is not None:
        _compare(vault, "agents", entry.n_agents, agents)
        _compare(vault, "observation width", entry.obs_dim, observed.shape[1])
    actions, notices = _judged(vault, "actions", 1, 2), []
    _same_agents(vault, actions, agents)
    for name in ("rewards", *FLAGS):
        if name in vault.leaves:
            _per_agent_or_one(vault, _judged(vault, name, 0, 1, 2), agents)
    if STATE in vault.leaves and len(_judged(vault, STATE, 1, 2).shape) == 2:
        _same_agents(vault, vault.leaves[STATE], agents)
    discrete = _discrete(vault, declared, entry, actions)
    if discrete:
        legals = _judged(vault, LEGALS, 2)
        _same_agents(vault, legals, agents)
        if legals.shape[1] > MOST_ACTIONS:
            raise _unsupported(vault, f"{legals.shape[1]} actions, more than {MOST_ACTIONS}")
        if actions.dtype.kind == "f":
            notices.append(f"actions are indices, stored as {actions.dtype}, because legal actions are stored")
        return Contents(agents, True, legals.shape[1], notices)
    if actions.shape == (agents,):
        notices.append("actions are continuous and have one number per agent, because no width is stored")
    return Contents(agents, False, actions.shape[1] if len(actions.shape) == 2 else 1, notices)


def _discrete(vault: Vault, declared: Declared, entry: Entry | None, actions: Leaf) -> bool:
    """Return whether actions are indices. Raises DataError if shape, type, legal actions and declaration disagree."""
    whole, single = actions.dtype.kind in "iub", actions.shape[1:] in ((), (1,))
    if declared.discrete is False:
        if whole and entry is not None:
            raise DataError(
                f"{vault.folder}: kind of actions is discrete, but the catalogue says continuous; {vault.again}"
            )
        if whole:
            raise DataError(
                f"{vault.folder}: 'actions' has type {actions.dtype}, so actions are indices; drop discrete=false"
            )
        return False
    legal = LEGALS in vault.leaves
    if not (whole or legal or declared.discrete):
        return False
    if not single and not whole and entry is not None:
        raise DataError(
            f"{vault.folder}: kind of actions is continuous, but the catalogue says discrete; {vault.again}"
        )
    if not single:
        what = f"{actions.shape[1]} indices per agent (multi-discrete actions)"
        if whole or declared.discrete:
            raise _unsupported(vault, what)
        hint = "if they are continuous, set discrete=false (fit: data.source.discrete=false)"
        raise DataError(f"{vault.folder}: not supported: {what}, because legal actions are stored; {hint}")
    if not legal:
        raise _unsupported(vault, f"discrete actions without {LEGALS} (ones, if every action is always legal)")
    return True


def _judged(vault: Vault, name: str, *axes: int) -> Leaf:
    """Return a leaf. Raises DataError if its rows have another number of axes, no entry, or numbers of another kind."""
    leaf = vault.leaves[name]
    if leaf.dtype.kind not in "fiub":
        raise _unsupported(vault, f"'{name}' has type {leaf.dtype}, not a type of real numbers")
    if len(leaf.shape) not in axes or 0 in leaf.shape:
        wanted = {"observations": "(agents, width)", LEGALS: "(agents, actions)", STATE: "(width) or (agents, width)"}
        raise _unsupported(vault, f"'{name}' has shape {leaf.shape} per row, not {wanted.get(name, '(agents)')}")
    return leaf


def _same_agents(vault: Vault, leaf: Leaf, agents: int) -> None:
    if leaf.shape[0] != agents:
        raise DataError(
            f"{vault.folder}: '{leaf.name}' is for {leaf.shape[0]} agents, 'observations' for {agents}; {vault.repair}"
        )


def _per_agent_or_one(vault: Vault, leaf: Leaf, agents: int) -> None:
    """Raise DataError unless the rows hold one number, or one per agent."""
    if leaf.shape not in ((), (1,), (1, 1), (agents,), (agents, 1)):
        raise _unsupported(vault, f"'{leaf.name}' has shape {leaf.shape} per row, not ({agents},) or one number")


def _compare(vault: Vault, what: str, wanted: int | None, found: int) -> None:
    if wanted is not None and wanted != found:
        raise DataError(f"{vault.folder}: {what} is {found}, but the catalogue says {wanted}; {vault.again}")


def _unsupported(vault: Vault, what: str) -> DataError:
    return DataError(f"{vault.folder}: not supported: {what}; {vault.repair}")
