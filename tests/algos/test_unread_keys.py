"""Keys that an algorithm says it does not read: they change nothing, and whoever types one is told so."""

import pytest
import torch

from tests.algos.test_contract import NAMES, SPECS, build, node_of, train
from tests.cli.answers import TINY, answer
from tests.support import random_batch
from vgm2p.config.build import algorithm_class
from vgm2p.rng import ActKey
from vgm2p.types import Seen

OTHERS = {"decode": "sample", "rating": "first"}  # words; numbers and truth values change by themselves


def unread():
    for name in NAMES:
        cls = algorithm_class(node_of(name))
        for kind in SPECS:
            if getattr(cls, f"supports_{kind}"):
                yield from ((name, kind, key) for key in cls.unread(kind == "discrete"))


CASES = list(unread())


def changed(node, key):
    """Return a node with another value of a dotted key; of a key with keys below it, all of their numbers."""
    head, _, rest = key.partition(".")
    value = node[head]
    if rest:
        return {**node, head: changed(value, rest)}
    if isinstance(value, dict):
        for each in value:
            node = {**node, head: changed(node[head], each)}
        return node
    if isinstance(value, bool):
        return {**node, head: not value}
    return {**node, head: OTHERS.get(head, (value or 1) * 2 if head != "gamma" else 0.5)}


def result(algorithm):
    """Return what an algorithm has learnt, and how it acts."""
    batch = random_batch(algorithm.spec, 1, 32, source=9, needs=algorithm.needs)
    actions, _ = algorithm.act(Seen(batch.obs, batch.legal), None, ActKey([0], 3, range(32)))
    return [*algorithm.state_dict().values(), actions]


def test_a_key_that_is_read_when_acting_is_seen():
    plain, again = (build("bc_gaussian", SPECS["discrete"](), decode=decode) for decode in ("argmax", "sample"))
    assert not torch.equal(result(plain)[-1], result(again)[-1])


def test_there_are_such_keys():
    assert {("vgm2p_plus", "continuous", "omega"), ("ma_cql", "discrete", "cql.sigma")} <= set(CASES)


@pytest.mark.parametrize(("name", "kind", "key"), CASES)
def test_another_value_trains_to_the_same_bits(name, kind, key):
    spec, node = SPECS[kind](), node_of(name)
    other = changed(node, key)
    assert other != node
    plain, again = build(name, spec), build(name, spec, **other)
    for algorithm in (plain, again):
        train(algorithm, spec, 3)
    same = zip(result(plain), result(again), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


@pytest.mark.parametrize("word", ["algo.omega=5", "algo.judge.depth=1", "+algo.policy_rows=8"])
def test_whoever_types_one_is_told_before_anything_is_made(word, tmp_path):
    code, text = answer(["fit", *TINY, "algo=vgm2p_plus", word, f"out={tmp_path / 'run'}"])
    assert code == 2 and text.count("\n") == 1
    assert "has no effect: algo=vgm2p_plus does not read it with continuous actions; remove it" in text
    assert not (tmp_path / "run").exists()
