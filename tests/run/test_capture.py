"""Tests of CUDA-graph capture that need no GPU: static random numbers, fixed addresses, no waiting, restored state."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.algos.test_contract import PAIRS, build
from tests.support import random_batch
from vgm2p.execution.rollout import in_precision
from vgm2p.rng import ROWS, StaticKey, UpdateKey
from vgm2p.training.capture import untouched
from vgm2p.training.module import OfflineModule
from vgm2p.training.session import capture_of


def test_static_tables_hold_the_numbers_of_the_key():
    free, static = UpdateKey([3, 4]), StaticKey([3, 4], "cpu")
    for update in [0, 1, 5, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 7, 2]:
        free.at(update), static.at(update)
        assert torch.equal(free.normal("a", (2, 3)), static.normal("a", (2, 3)))
        assert torch.equal(free.uniform("b", (4,)), static.uniform("b", (4,)))
        assert torch.equal(free.integers("c", (4,), 9), static.integers("c", (4,), 9))


def test_static_tables_keep_their_addresses():
    key = StaticKey([0], "cpu")
    key.normal("a", (5,))
    address = next(iter(key._tables.values())).data_ptr()
    key.at(10 * ROWS).normal("a", (5,))
    assert next(iter(key._tables.values())).data_ptr() == address


class Fixed:
    """A source that gives the same batch again and again."""

    def __init__(self, spec):
        self.spec, self.batch = spec, None

    def draw(self, key, batch_size, needs):
        self.batch = self.batch or random_batch(self.spec, needs=needs)
        return self.batch

    def to(self, device):
        return self


FIRST = PAIRS[0].values


def module_of(name, spec, source=Fixed, **options):
    return OfflineModule(build(name, spec), source(spec), 8, **options)


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_the_function_that_would_be_captured_trains_what_the_eager_one_trains(name, spec):
    eager, static = module_of(name, spec), module_of(name, spec)
    eager.on_fit_start()
    key = StaticKey([0], "cpu")
    for update in range(ROWS + 3):
        eager._eager(update)
        static._update(key.at(update))
    for one, two in zip(eager.state(), static.state(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_an_update_changes_tensors_in_place_only(name, spec):
    module = module_of(name, spec)
    key = StaticKey([0], "cpu")
    module._update(key)
    before = [(tensor, tensor.data_ptr()) for tensor in module.state()]
    module._update(key.at(1))
    module.diagnostics.clear()
    module.algorithm.load_state_dict(copy.deepcopy(module.algorithm.state_dict()))
    for optimiser in module.algorithm.optimisers.values():
        optimiser.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    module._update(key.at(2))
    assert [(id(tensor), tensor.data_ptr()) for tensor in module.state()] == [(id(t), p) for t, p in before]


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_warm_up_leaves_no_trace(name, spec):
    module, fresh = module_of(name, spec), module_of(name, spec)
    with untouched(module.state):
        for update in range(3):
            module._update(UpdateKey([0]).at(update))
    for one, two in zip(module.algorithm.state(), fresh.algorithm.state(), strict=True):
        assert torch.equal(one, two)
    assert all(not total.any() for total in module.diagnostics.sums.values())


def test_a_failed_capture_restores_the_state_and_keeps_no_autograd_graph():
    module, fresh = module_of(*FIRST), module_of(*FIRST)
    keeper = untouched(module.state)
    with pytest.raises(RuntimeError, match="no graph"), keeper:
        module._update(UpdateKey([0]).at(0))
        kept = keeper.gen.gi_frame.f_locals["kept"]
        assert len(kept) == len(fresh.state())
        assert all(tensor.grad_fn is None for tensor in kept)  # else backward passes under capture wait for its stream
        raise RuntimeError("no graph")
    for one, two in zip(module.algorithm.state(), fresh.algorithm.state(), strict=True):
        assert torch.equal(one, two)


class Uncapturable(Fixed):
    """Gives batches to updates that run one by one only. (Without CUDA, capture fails before it draws.)"""

    def draw(self, key, batch_size, needs):
        if isinstance(key, StaticKey):
            raise RuntimeError("no graph")
        return super().draw(key, batch_size, needs)


def test_if_a_tried_capture_fails_updates_run_eagerly():
    module, eager = (module_of(*FIRST, source=Uncapturable, capture=choice) for choice in ("try", "off"))
    module.on_fit_start(), eager.on_fit_start()
    with pytest.warns(UserWarning, match="capture failed"):
        module.training_step((0, 3), 0)
    module.training_step((3, 5), 0)
    eager.training_step((0, 5), 0)
    assert module.done == 5
    for one, two in zip(module.state(), eager.state(), strict=True):
        assert torch.equal(one, two)


def test_if_a_required_capture_fails_nothing_is_trained():
    module = module_of(*FIRST, source=Uncapturable, capture="require")
    module.on_fit_start()
    with pytest.raises(RuntimeError):
        module.training_step((0, 3), 0)
    assert module.done == 0


@pytest.mark.parametrize(("tf32", "expected"), [(True, "high"), (False, "highest")])
def test_tf32_is_for_updates_alone(tf32, expected, monkeypatch):
    def switches():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    module, seen, before = module_of(*FIRST, tf32=tf32), set(), switches()
    module.on_fit_start()
    monkeypatch.setattr(module.algorithm, "update", lambda batch, key: seen.add(switches()) or {})
    module.training_step((0, 3), 0)
    assert seen == {(expected, tf32)}
    with in_precision("cpu", None):
        assert switches() == ("highest", False)
    assert switches() == before


def test_a_resumed_log_window_goes_on_where_training_does():
    module = module_of(*FIRST)
    module.on_fit_start()
    module.training_step((0, 2), 0)
    saved = {}
    module.on_save_checkpoint(saved)
    again = module_of(*FIRST)
    again.on_load_checkpoint(saved)
    again.to("meta").on_fit_start()
    assert {value.device.type for value in again.diagnostics.sums.values()} == {"meta"}


class NoWaiting(TorchDispatchMode):
    """Raises where a GPU would have to answer the host, or the host to send numbers, in the middle of an update."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "lift_fresh", "equal", "is_nonzero", "masked_select", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.FORBIDDEN:
            raise AssertionError(f"the update calls {func}")
        if name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1]):
            raise AssertionError("the update indexes by a mask")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "spec"), PAIRS)
def test_an_update_never_waits_for_the_device(name, spec):
    module = module_of(name, spec)
    key = StaticKey([0], "cpu")
    module._update(key.at(0))
    key.at(1)
    with NoWaiting():
        module._update(key)


def test_the_check_for_waiting_finds_waiting():
    x = torch.rand(3)
    for wait in (x.sum().item, lambda: x[x > 0.5], x.nonzero, lambda: torch.tensor([1.0])):
        with pytest.raises(AssertionError), NoWaiting():
            wait()


def test_capture_is_for_cuda():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    choices = [(choice, device) for choice in ("auto", True, False) for device in (cpu, cuda)]
    found = [capture_of(choice, True, device, print) for choice, device in choices]
    assert found == ["off", "try", "require", "require", "off", "off"]
