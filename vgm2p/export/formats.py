"""Writes weights as safetensors, and graphs as ONNX and `torch.export` files."""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch.export import Dim, ExportedProgram

from vgm2p.algos.contract import Algorithm
from vgm2p.errors import ConfigError
from vgm2p.export.graph import Graph

Format = Literal["safetensors", "onnx", "torch"]
FORMATS: tuple[Format, ...] = ("safetensors", "onnx", "torch")
PACKAGES: dict[str, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime")}  # that a format needs
ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
OUTPUT = "action"
TRACED = 2  # rows of the batch with which a graph is traced
PLACES = ("stack_trace", "source_fn_stack", "from_node")  # entries of a node that name files of this machine


def lacking(form: str) -> list[str]:
    """Return the packages that a format needs and that are not installed."""
    return [name for name in PACKAGES.get(form, ()) if importlib.util.find_spec(name) is None]


def write_weights(algorithm: Algorithm, path: Path) -> None:
    """Write all tensors of an algorithm of one seed as safetensors."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in algorithm.state_dict().items()}
    path.write_bytes(save(state))


def traced(graph: Graph) -> tuple[ExportedProgram, bool]:
    """Return a graph as a program of torch operations, and whether its batch may have any size. (If not: one row.)"""
    batch = Dim("batch", min=1)
    with _quiet(), torch.no_grad():
        try:
            given = graph.examples(TRACED)
            program = torch.export.export(graph, given, dynamic_shapes=(tuple({0: batch} for _ in given),))
            dynamic = True
        except torch._dynamo.exc.UserError:  # an operation fixes the size
            program, dynamic = torch.export.export(graph, graph.examples(1)), False
    for node in program.graph.nodes:
        for place in PLACES:
            node.meta.pop(place, None)
    return program, dynamic


def write_torch(program: ExportedProgram, path: Path) -> None:
    """Write a program so that `torch.export.load(path).module()` gives the graph."""
    with _quiet():
        torch.export.save(program, path)


def write_onnx(program: ExportedProgram, graph: Graph, path: Path) -> None:
    """Write a program as ONNX, with the names of the graph's inputs; the axis of a batch of any size is `batch`.

    Raises ConfigError for an operation that ONNX does not have.
    """
    import onnx

    names = [each.name for each in graph.inputs]
    try:
        with _quiet(), torch.no_grad():
            made = torch.onnx.export(program, (), dynamo=True, input_names=names, output_names=[OUTPUT], verbose=False)
    except torch.onnx.errors.OnnxExporterError as error:
        operation = re.search(r"aten\.\w+", str(error))
        cause = f"it has no {operation[0]}" if operation else type(error).__name__
        raise ConfigError(f"{path.name}: ONNX cannot express this policy ({cause}); use formats=[torch]") from error
    assert made is not None
    model: Any = made.model_proto
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]  # they name files of this machine
    for part in (*model.graph.input, *model.graph.output):
        first = part.type.tensor_type.shape.dim[0]
        if first.dim_param:
            first.dim_param = "batch"
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' warnings, which are for their developers, from the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
