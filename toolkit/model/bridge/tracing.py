"""The ONNX graph of any torch module, by torch's tracing exporter and without its talk."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import Tensor, nn

from toolkit.errors import UserError
from toolkit.model.network import OPSET


def trace_graph(
    module: nn.Module, picture: Tensor, *, input_name: str, output_name: str
) -> onnx.GraphProto:
    """The graph with free height and width. Raises UserError for what ONNX cannot express.

    This is the older of torch's two exporters: it keeps PixelShuffle as one DepthToSpace and
    takes a tenth of a second, where the newer one takes seconds and spells operators out.
    """
    buffer = io.BytesIO()
    with _silence():
        try:
            torch.onnx.export(
                module,
                (picture,),
                buffer,  # type: ignore[arg-type]  # a file object works with dynamo=False
                input_names=[input_name],
                output_names=[output_name],
                dynamic_axes={input_name: {2: "h", 3: "w"}, output_name: {2: "sh", 3: "sw"}},
                opset_version=OPSET,
                dynamo=False,
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"the network cannot be written as ONNX: {reason}",
                hint="write the layer in operators that ONNX has, with sizes taken from the input",
            ) from error
    return onnx.load_from_string(buffer.getvalue()).graph


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The tracer talks through warnings, a logger and stdout."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
