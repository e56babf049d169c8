"""The lint names what a device cannot run, which node it is, and what to change."""

import numpy as np
import onnx
import pytest
import spec_files
from onnx import TensorProto, helper, numpy_helper

from toolkit.run.linting import node_facts
from toolkit.spec.lint import Finding, NodeFact, lint, refusals
from toolkit.spec.read_target import read_target

LIMITS = """limits:
  operators:
    GridSample: {level: refused, instead: do not warp, source: list A}
    "Resize[mode=cubic]": {instead: resize outside, source: list B}
  max_rank: {value: 4, level: refused, instead: use DepthToSpace, source: list C}
  depth_to_space_blocks: {value: [2], instead: shuffle twice by 2, source: list D}
  kernel_sizes: {value: [1, 3], instead: use 3x3, source: list E}
  channel_multiple: {value: 8, instead: use eights, source: list F}
"""


@pytest.fixture
def board(tmp_path):
    path = tmp_path / "board.yaml"
    path.write_text(spec_files.target(more=LIMITS))
    return read_target(path)


def conv(name, channels_in, channels_out, edge=3):
    return NodeFact(
        name=name,
        op="Conv",
        rank=4,
        kernel=(edge, edge),
        channels_in=channels_in,
        channels_out=channels_out,
    )


def shuffle(block):
    return NodeFact(name="up", op="DepthToSpace", rank=4, block=block)


def test_a_network_within_the_limits_has_no_finding(board):
    # 3 channels in and 12 out belong to the picture, not to the network's width
    nodes = [conv("head", 3, 16), conv("body", 16, 24), conv("tail", 24, 12), shuffle(2)]
    assert lint(nodes, board) == []


@pytest.mark.parametrize(
    ("node", "finding"),
    [
        (
            NodeFact(name="warp", op="GridSample", rank=4),
            ("refused", "warp", "board cannot run `GridSample`", "do not warp", "list A"),
        ),
        (
            NodeFact(name="r", op="Resize", rank=4, attributes={"mode": "cubic"}),
            (
                "slow",
                "r",
                "board does not run well on this device: `Resize` with mode `cubic`",
                "resize outside",
                "list B",
            ),
        ),
        (
            NodeFact(name="six", op="Reshape", rank=6),
            (
                "refused",
                "six",
                "a tensor of `Reshape` has 6 axes, at most 4",
                "use DepthToSpace",
                "list C",
            ),
        ),
        (
            shuffle(4),
            (
                "slow",
                "up",
                "DepthToSpace has block size 4, allowed: 2",
                "shuffle twice by 2",
                "list D",
            ),
        ),
        (
            conv("wide", 16, 16, edge=5),
            ("slow", "wide", "the kernel is 5x5, allowed edges: 1, 3", "use 3x3", "list E"),
        ),
    ],
)
def test_each_limit_is_held_against_each_node(node, finding, board):
    level, name, problem, fix, source = finding
    expected = Finding(level=level, node=name, problem=problem, fix=fix, source=source)
    assert lint([node], board) == [expected]


def test_an_attribute_that_is_allowed_is_no_finding(board):
    assert (
        lint([NodeFact(name="r", op="Resize", rank=4, attributes={"mode": "linear"})], board) == []
    )


def test_narrow_layers_are_one_finding_for_the_whole_network(board):
    nodes = [conv("head", 3, 12), conv("a", 12, 16), conv("b", 16, 20), conv("tail", 20, 12)]
    (finding,) = lint(nodes, board)
    assert (finding.level, finding.node) == ("slow", "head")
    assert finding.problem == (
        "2 of 3 inner convolutions have channel counts that are no multiple of 8: 12, 20"
    )


def test_refusals_come_first_and_become_errors_with_the_way_out(board):
    nodes = [shuffle(4), NodeFact(name="warp", op="GridSample", rank=4)]
    findings = lint(nodes, board)
    assert [finding.level for finding in findings] == ["refused", "slow"]
    assert [str(error) for error in refusals(findings, board)] == [
        "error: board cannot run `GridSample` (list A)\n"
        "  --> node `warp`, target board\n\nhint: do not warp"
    ]


def test_the_phones_npu_refuses_shapes_that_depend_on_the_picture():
    target = read_target("android-npu")
    (finding,) = lint([NodeFact(name="where", op="NonZero", rank=2)], target)
    assert finding.level == "refused"
    assert finding.source == "qualcomm/ai-hub-models#52"


def test_a_limit_on_shuffles_does_not_hold_where_the_build_writes_them_otherwise(tmp_path):
    path = tmp_path / "board.yaml"
    build = "builds: [{backend: litert, scheme: litert, layout: nhwc, tile: [64, 64], UP}]"
    for upsampler, count in (("depth_to_space", 1), ("transpose_conv", 0), ("reshape", 0)):
        builds = build.replace("UP", f"upsampler: {upsampler}")
        path.write_text(spec_files.target(builds=builds, more=LIMITS))
        assert len(lint([shuffle(3)], read_target(path))) == count


@pytest.mark.parametrize(
    ("target", "node", "problem"),
    [
        (
            "edge-tpu",
            NodeFact(name="n", op="Reshape", rank=6, wide_axes=5),
            "a tensor of `Reshape` has 5 axes longer than 1, at most 3",
        ),
        (
            "artpec-8",
            NodeFact(name="n", op="PRelu", rank=4),
            "artpec-8 cannot run `PRelu`",
        ),
        (
            "artpec-8",
            NodeFact(name="n", op="LeakyRelu", rank=4),
            "artpec-8 cannot run `LeakyRelu`",
        ),
        ("artpec-9", shuffle(3), "DepthToSpace has block size 3, allowed: 2"),
        (
            "artpec-9",
            NodeFact(name="n", op="Reshape", rank=5),
            "a tensor of `Reshape` has 5 axes, at most 4",
        ),
        (
            "artpec-9",
            NodeFact(name="n", op="Concat", rank=4, joined=(16, 24)),
            "a concatenation joins 24 channels, no multiple of 16",
        ),
        (
            "artpec-9",
            NodeFact(name="n", op="Conv", rank=4, kernel=(3, 3), strides=(3, 3)),
            "the stride is 3x3, allowed: 1, 2",
        ),
        (
            "artpec-9",
            NodeFact(name="n", op="Conv", rank=4, kernel=(4, 4), strides=(1, 1)),
            "the kernel is 4x4, allowed edges: 1, 2, 3, 5, 7, 9",
        ),
    ],
)
def test_what_the_strict_cameras_refuse_is_named(target, node, problem):
    (finding,) = lint([node], read_target(target))
    assert (finding.level, finding.problem) == ("refused", problem)


def test_facts_of_a_graph_leave_weights_out_and_tell_joins_from_repetitions():
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Concat", ["x", "x"], ["b"], "repeat", axis=1),
        helper.make_node("Concat", ["x", "b"], ["y"], "join", axis=1),
    ]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 9, "h", "w"])
    graph = helper.make_graph(nodes, "g", [picture], [out], [weight])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph))
    conv_fact, repeat, join = node_facts(model)
    assert (conv_fact.wide_axes, conv_fact.strides) == (3, (2, 2))
    assert (repeat.joined, join.joined) == ((), (3, 6))
