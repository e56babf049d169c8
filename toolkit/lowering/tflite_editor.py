"""The ONNX graph while it is being rewritten."""

from __future__ import annotations

from dataclasses import replace

from toolkit.lowering.tflite_source import Array, Node, Source, use_counts

UNARY = {
    "Relu", "LeakyRelu", "Tanh", "Sigmoid", "HardSwish", "HardSigmoid", "Clip", "Gelu", "Exp",
    "Abs", "Neg", "Sqrt", "Elu", "Erf", "Softplus", "Log", "Reciprocal", "Identity", "Floor",
    "Sin", "Cos", "Sign",
}  # fmt: skip
BINARY = {"Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Pow"}


class Editor:
    """A graph while it is being rewritten."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.nodes = list(source.nodes)
        self.constants = dict(source.constants)
        self.shapes = dict(source.shapes)
        self._count = 0

    def producer(self, name: str) -> Node | None:
        """The node that makes a tensor; None for the input and for constants."""
        return next((n for n in self.nodes if name in n.outputs), None)

    def readers(self, name: str) -> list[Node]:
        """The nodes that read a tensor, each once."""
        return [n for n in self.nodes if name in n.inputs]

    def uses(self, name: str) -> int:
        """How often a tensor is read, the graph's output included."""
        return use_counts(self.nodes, self.source.output)[name]

    def swap(self, old: Node, *new: Node) -> None:
        """Put nodes in the place of one."""
        place = self.nodes.index(old)
        self.nodes[place : place + 1] = new

    def name(self, stem: str) -> str:
        """A tensor or node name that is not taken yet."""
        self._count += 1
        return f"{stem}/{self._count}"

    def constant(self, stem: str, value: Array) -> str:
        """Add a constant; returns its name."""
        name = self.name(stem)
        self.constants[name] = value
        self.shapes[name] = value.shape
        return name

    def scalar(self, name: str) -> float | None:
        """The value of a constant with one element, else None."""
        value = self.constants.get(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def select(self, tensor: str, channels: Array) -> str:
        """Insert a Select behind `tensor`; returns its output."""
        made_by = self.producer(tensor)
        name = self.name(f"{tensor}/select")
        batch, _, height, width = self.shapes[tensor]
        self.shapes[name] = (batch, len(channels), height, width)
        node = Node(
            kind="Select",
            name=name,
            inputs=(tensor,),
            outputs=(name,),
            attributes={"channels": channels},
        )
        self.nodes.insert(0 if made_by is None else self.nodes.index(made_by) + 1, node)
        return name

    def finish(self) -> Source:
        """Drop what does nothing and what nobody reads any more."""
        renamed: dict[str, str] = {}
        kept: list[Node] = []
        for node in self.nodes:
            node = replace(node, inputs=tuple(renamed.get(n, n) for n in node.inputs))
            if node.kind in ("Identity", "Dropout") and node.outputs[0] != self.source.output:
                renamed[node.outputs[0]] = node.inputs[0]
            else:
                kept.append(node)
        wanted = {self.source.output}
        alive: list[Node] = []
        for node in reversed(kept):
            if wanted.intersection(node.outputs):
                alive.append(node)
                wanted.update(node.inputs)
        return replace(
            self.source,
            nodes=tuple(reversed(alive)),
            constants=self.constants,
            shapes=self.shapes,
        )
