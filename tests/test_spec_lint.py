"""The lint names what a device cannot run, which node it is, and what to change."""

import pytest
import spec_files

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
