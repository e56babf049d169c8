"""One-operator ONNX graphs in the forms met in files, for the tests of the torch bridge."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 8


class Case(NamedTuple):
    """`kind` applied to the picture and to constants; None among them is an omitted input."""

    kind: str
    constants: tuple[Any, ...] = ()
    attributes: dict[str, Any] = {}  # noqa: RUF012  read only
    opset: int = 17


def _weights(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return rng.normal(0, 0.3, shape).astype(np.float32)


def _resize(scales: list[float], **attributes: Any) -> Case:
    full = np.array([1, 1, *scales], np.float32)
    return Case("Resize", (None, full), attributes)


ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
CONV = (_weights(8, 8, 3, 3), _weights(8))
CONV2 = (_weights(12, 8, 2, 4),)
DECONV = (_weights(8, 6, 4, 4), _weights(6))
FOUR = np.array([1, 1, 2, 2])

CASES: dict[str, Case] = {
    "conv": Case("Conv", CONV, {"pads": [1, 1, 1, 1]}),
    "conv_strided": Case("Conv", CONV, {"pads": [1, 1, 1, 1], "strides": [2, 3]}),
    "conv_dilated": Case("Conv", CONV, {"pads": [2, 3, 2, 3], "dilations": [2, 3]}),
    "conv_grouped": Case("Conv", (_weights(16, 2, 3, 3),), {"group": 4}),
    "conv_uneven_pads": Case("Conv", CONV, {"pads": [0, 2, 1, 0]}),
    "conv_even_kernel_same_upper": Case("Conv", CONV2, {"auto_pad": "SAME_UPPER"}),
    "conv_even_kernel_same_lower": Case("Conv", CONV2, {"auto_pad": "SAME_LOWER"}),
    "conv_strided_same": Case("Conv", CONV, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "conv_strided_same_lower": Case("Conv", CONV2, {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
    "conv_valid": Case("Conv", CONV, {"auto_pad": "VALID"}),
    "deconv": Case("ConvTranspose", DECONV, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "deconv_output_padding": Case(
        "ConvTranspose", DECONV, {"strides": [3, 3], "pads": [1, 1, 1, 1], "output_padding": [1, 2]}
    ),
    "deconv_crops_more_at_the_end": Case(
        "ConvTranspose", DECONV, {"strides": [2, 2], "pads": [0, 1, 2, 1]}
    ),
    "deconv_crops_less_at_the_end": Case(
        "ConvTranspose", DECONV, {"strides": [2, 2], "pads": [2, 1, 1, 1]}
    ),
    "deconv_same": Case("ConvTranspose", DECONV, {"strides": [3, 3], "auto_pad": "SAME_UPPER"}),
    "deconv_grouped": Case("ConvTranspose", (_weights(8, 3, 4, 4),), {"group": 2}),
    "batch_norm": Case(
        "BatchNormalization",
        (_weights(8), _weights(8), _weights(8), np.abs(_weights(8)) + 0.5),
        {"epsilon": 1e-3},
    ),
    "instance_norm": Case("InstanceNormalization", (_weights(8), _weights(8))),
    "leaky_relu": Case("LeakyRelu", (), {"alpha": 0.2}),
    "prelu_per_channel": Case("PRelu", (_weights(8, 1, 1),)),
    "prelu_one_slope": Case("PRelu", (_weights(1),)),
    "prelu_batch_shaped": Case("PRelu", (_weights(1, 8, 1, 1),)),
    "prelu_per_column": Case("PRelu", (_weights(8, 1, 12),)),
    "clip_low": Case("Clip", (np.float32(-0.3),)),
    "clip_high": Case("Clip", (None, np.float32(0.4))),
    "clip_opset_6": Case("Clip", (), {"min": -0.2, "max": 0.3}, 9),
    "hard_sigmoid": Case("HardSigmoid", (), {"alpha": 0.3, "beta": 0.4}),
    "hard_sigmoid_of_torch": Case("HardSigmoid", (), {"alpha": 1 / 6}),
    "hard_swish": Case("HardSwish"),
    "elu": Case("Elu", (), {"alpha": 0.7}),
    "selu": Case("Selu"),
    "gelu": Case("Gelu", (), {}, 20),
    "gelu_tanh": Case("Gelu", (), {"approximate": "tanh"}, 20),
    "mish": Case("Mish", (), {}, 18),
    "softplus": Case("Softplus"),
    "softmax_over_channels": Case("Softmax", (), {"axis": 1}),
    "softmax_opset_11_last_axis": Case("Softmax", (), {"axis": 3}, 11),
    "softmax_opset_11_last_axis_counted_back": Case("Softmax", (), {"axis": -1}, 11),
    "log_softmax": Case("LogSoftmax", (), {"axis": -2}),
    "add_channels": Case("Add", (_weights(8, 1, 1),)),
    "power": Case("Pow", (np.float32(2.0),)),
    "maximum": Case("Max", (_weights(8, 1, 1), np.float32(0.1))),
    "minimum": Case("Min", (np.float32(0.1),)),
    "concat": Case("Concat", (_weights(1, 2, 14, 12),), {"axis": 1}),
    "slice": Case("Slice", (np.array([1, 2]), np.array([9999, -1]), np.array([2, 3]))),
    "slice_steps": Case("Slice", ([0, 1], [8, 12], [1, -1], [3, 2])),
    "slice_backwards": Case("Slice", ([-1], [-9999], [3], [-1])),
    "slice_opset_9": Case("Slice", (), {"starts": [1], "ends": [3], "axes": [1]}, 9),
    "pad_constant": Case("Pad", ([0, 1, 2, 0, 0, 0, 1, 3], np.float32(0.7))),
    "pad_reflect": Case("Pad", ([0, 0, 2, 1, 0, 0, 1, 3],), {"mode": "reflect"}),
    "pad_edge": Case("Pad", ([0, 0, 2, 1, 0, 0, 1, 3],), {"mode": "edge"}),
    "pad_crops": Case("Pad", ([0, 0, -2, 1, 0, 0, 1, -3],)),
    "pad_opset_9": Case("Pad", (), {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 0.5}, 9),
    "pad_axes_opset_18": Case("Pad", ([1, 2, 3, 4], None, [2, 3]), {}, 18),
    "reshape_zero_and_rest": Case("Reshape", ([0, 2, 4, -1],)),
    "flatten": Case("Flatten", (), {"axis": 2}),
    "transpose": Case("Transpose", (), {"perm": [0, 2, 3, 1]}),
    "transpose_reversed": Case("Transpose"),
    "tile": Case("Tile", ([1, 2, 1, 3],)),
    "expand": Case("Expand", ([3, 1, 1, 1, 1],)),
    "unsqueeze": Case("Unsqueeze", ([1, -1],)),
    "unsqueeze_opset_11": Case("Unsqueeze", (), {"axes": [2]}, 11),
    "squeeze": Case("Squeeze", ([0],)),
    "squeeze_opset_11": Case("Squeeze", (), {"axes": [0]}, 11),
    "gather_one": Case("Gather", (np.array(-1),), {"axis": 1}),
    "gather_some": Case("Gather", ([[5, -8], [2, 2]],), {"axis": 1}),
    "depth_to_space_dcr": Case("DepthToSpace", (), {"blocksize": 2, "mode": "DCR"}),
    "depth_to_space_crd": Case("DepthToSpace", (), {"blocksize": 2, "mode": "CRD"}),
    "space_to_depth": Case("SpaceToDepth", (), {"blocksize": 2}),
    "max_pool": Case("MaxPool", (), {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "max_pool_ceil": Case(
        "MaxPool", (), {"kernel_shape": [3, 3], "ceil_mode": 1, "strides": [2, 2]}
    ),
    "max_pool_uneven": Case("MaxPool", (), {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1]}),
    "max_pool_same": Case(
        "MaxPool", (), {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}
    ),
    "average_pool": Case("AveragePool", (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "average_pool_counts_padding": Case(
        "AveragePool", (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}
    ),
    "average_pool_uneven": Case("AveragePool", (), {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1]}),
    "global_average_pool": Case("GlobalAveragePool"),
    "global_max_pool": Case("GlobalMaxPool"),
    "reduce_mean": Case("ReduceMean", (), {"axes": [2, 3], "keepdims": 1}),
    "reduce_mean_drops_axes": Case("ReduceMean", (), {"axes": [-1], "keepdims": 0}),
    "reduce_mean_opset_18": Case("ReduceMean", ([1],), {}, 18),
    "reduce_sum": Case("ReduceSum", ([1],), {"keepdims": 0}),
    "reduce_sum_of_all": Case("ReduceSum"),
    "reduce_sum_opset_11": Case("ReduceSum", (), {"axes": [2]}, 11),
    "reduce_max": Case("ReduceMax", (), {"axes": [1]}),
    "reduce_l2": Case("ReduceL2", (), {"axes": [1]}),
    "reduce_l1": Case("ReduceL1", (), {"axes": [3]}),
    "reduce_sum_square": Case("ReduceSumSquare", (), {"axes": [1]}),
    "matmul": Case("MatMul", (_weights(12, 5),)),
    "matmul_batched": Case("MatMul", (_weights(1, 8, 12, 5),)),
    "layer_norm": Case("LayerNormalization", (_weights(12), _weights(12)), {"epsilon": 1e-6}),
    "layer_norm_two_axes": Case("LayerNormalization", (_weights(14, 12),), {"axis": 2}),
    "scatter": Case("ScatterND", ([[0, 1], [0, 3]], _weights(2, 14, 12))),
    "einsum": Case("Einsum", (_weights(5, 8),), {"equation": "nchw,dc->ndhw"}),
    "upsample_opset_7": Case("Upsample", (), {"scales": [1.0, 1.0, 2.0, 3.0]}, 7),
    "upsample_opset_9": Case("Upsample", (FOUR.astype(np.float32),), {"mode": "linear"}, 9),
    "resize_opset_10": Case("Resize", (FOUR.astype(np.float32),), {}, 10),
    "resize_sizes": Case(
        "Resize", (None, None, [1, 8, 21, 30]), {"mode": "linear"}
    ),
    "resize_channels": Case(
        "Resize", (None, np.array([1, 2, 1, 1], np.float32)), {"mode": "linear"}
    ),
    "nearest_for_nn_of_tf": _resize([2, 2], coordinate_transformation_mode="tf_half_pixel_for_nn"),
    "cubic_minus_half": _resize([2, 2], mode="cubic", cubic_coeff_a=-0.5),
    "cubic_excludes_outside": _resize([2, 3], mode="cubic", exclude_outside=1),
    **{
        f"nearest_{where}_{rounding}": _resize(
            [2, 1.5], coordinate_transformation_mode=where, nearest_mode=rounding
        )
        for where in COORDINATES
        for rounding in ROUNDINGS
    },
    **{
        f"{mode}_{where}_{name}": _resize(
            scales, mode=mode, coordinate_transformation_mode=where
        )
        for mode in ("linear", "cubic")
        for where in COORDINATES
        for name, scales in (("up", [2, 3]), ("down", [0.5, 0.75]), ("fraction", [1.5, 1.3]))
    },
}  # fmt: skip


def _stored(value: Any, name: str) -> TensorProto:
    array = np.asarray(value)
    kept = array if array.dtype == np.float32 else array.astype(np.int64)
    return numpy_helper.from_array(kept, name)


def model_of(case: Case) -> onnx.ModelProto:
    """The graph with input `x` (1, 8, 14, 12) and a convolution before, for weights to train."""
    names = ["" if value is None else f"c{place}" for place, value in enumerate(case.constants)]
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["y"]),
        helper.make_node(case.kind, ["y", *names], ["z"], **case.attributes),
    ]
    stored = [_stored(v, n) for v, n in zip(case.constants, names, strict=True) if n]
    identity = (np.eye(CHANNELS) + 0.1).astype(np.float32)[:, :, None, None]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "one_operator",
        [value("x", TensorProto.FLOAT, (1, CHANNELS, 14, 12))],
        [value("z", TensorProto.FLOAT, None)],
        [*stored, _stored(identity, "first")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)])
    model.ir_version = 8
    return model
