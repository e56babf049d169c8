"""Bad recipes and targets, each with one thing wrong, for the reader and the JSON Schema alike."""

GOOD = {
    "version": "version: 1",
    "network": "network: {reference: student}",
    "targets": "targets: [generic-cpu]",
    "steps": "steps: [{quantize: {}}]",
}


def recipe(**lines):
    """The text of a good recipe with some of its lines replaced; None leaves a line out."""
    return "\n".join(line for line in {**GOOD, **lines}.values() if line is not None) + "\n"


BAD_RECIPES = {
    "no version": recipe(version=None),
    "other version": recipe(version="version: 2"),
    "version as text": recipe(version='version: "1"'),
    "no network": recipe(network=None),
    "no targets": recipe(targets=None),
    "empty targets": recipe(targets="targets: []"),
    "target twice": recipe(targets="targets: [generic-cpu, generic-cpu]"),
    "targets as a word": recipe(targets="targets: generic-cpu"),
    "unknown key": recipe(more="gaets: {}"),
    "name with a folder": recipe(more="name: ../../x"),
    "absolute name": recipe(more="name: /tmp/x"),
    "name of dots": recipe(more='name: ".."'),
    "name with NUL": recipe(more='name: "a\\0b"'),
    "long name": recipe(more=f"name: {'x' * 5000}"),
    "name that is a truth value": recipe(more="name: no"),
    "name that is a number": recipe(more="name: 3.10"),
    "seed as text": recipe(more='seed: "4"'),
    "negative seed": recipe(more="seed: -1"),
    "endless seed": recipe(more="seed: 1.0e+999"),
    "seed as a truth value": recipe(more="seed: true"),
    "network without a source": recipe(network="network: {scale: 2}"),
    "reference with a scale": recipe(network="network: {reference: student, scale: 2}"),
    "unknown reference": recipe(network="network: {reference: studnt}"),
    "file without a scale": recipe(network="network: {file: net.onnx}"),
    "file of another kind": recipe(network="network: {file: net.txt, scale: 2}"),
    "unknown colour": recipe(network="network: {file: net.onnx, scale: 2, color: cmyk}"),
    "white of 127": recipe(network="network: {file: net.onnx, scale: 2, white: 127.0}"),
    "hyper without arch": recipe(network="network: {file: net.onnx, scale: 2, hyper: {a: 1}}"),
    "scale of 1": recipe(network="network: {file: net.onnx, scale: 1}"),
    "step as a word": recipe(steps="steps: [quantize]"),
    "unknown step": recipe(steps="steps: [{quantise: {}}]"),
    "convert as a step": recipe(steps="steps: [{convert: {}}]"),
    "two steps in one": recipe(steps="steps: [{quantize: {}, prune: {ratio: 0.5}}]"),
    "steps as a mapping": recipe(steps="steps: {quantize: {}}"),
    "unknown parameter": recipe(steps="steps: [{quantize: {patchs: 3}}]"),
    "exponent without a point": recipe(steps="steps: [{prune: {ratio: 3e-1}}]"),
    "ratio in percent": recipe(steps="steps: [{prune: {ratio: 30}}]"),
    "ratio of 0": recipe(steps="steps: [{prune: {ratio: 0.0}}]"),
    "share of 1": recipe(steps="steps: [{prune: {macs_share: 1.0}}]"),
    "prune without a goal": recipe(steps="steps: [{prune: {}}]"),
    "prune with nothing": recipe(steps="steps: [prune: ]"),
    "prune with two goals": recipe(steps="steps: [{prune: {ratio: 0.3, macs_share: 0.5}}]"),
    "fine-tune without images": recipe(steps="steps: [{prune: {ratio: 0.3, finetune_steps: 9}}]"),
    "images without fine-tune": recipe(steps="steps: [{prune: {ratio: 0.3, images: photos}}]"),
    "distill without images": recipe(steps="steps: [{distill: {}}]"),
    "teacher weight, no teacher": recipe(
        steps="steps: [{distill: {images: photos, weight_teacher: 0.5}}]"
    ),
    "teacher weight, null teacher": recipe(
        steps="steps: [{distill: {images: photos, teacher: null, weight_teacher: 0.5}}]"
    ),
    "nothing to learn": recipe(steps="steps: [{distill: {images: photos, weight_hr: 0.0}}]"),
    "nothing to learn from both": recipe(
        steps="steps: [{distill: {images: photos, teacher: {reference: teacher}, weight_hr: 0.0, "
        "weight_teacher: 0.0}}]"
    ),
    "bad teacher": recipe(
        steps="steps: [{distill: {images: photos, teacher: {reference: pupil}}}]"
    ),
    "excluded twice": recipe(steps="steps: [{distill: {images: photos, exclude: [a, a]}}]"),
    "half a step": recipe(steps="steps: [{distill: {images: photos, steps: 1.5}}]"),
    "decay of 1": recipe(steps="steps: [{distill: {images: photos, ema: 1.0}}]"),
    "unknown loss": recipe(steps="steps: [{distill: {images: photos, loss: l3}}]"),
    "quantize with a word for a truth value": recipe(steps='steps: [{quantize: {charts: "yes"}}]'),
    "flag of an older format": recipe(steps="steps: [{quantize: {equalise: false}}]"),
    "unknown rung": recipe(steps="steps: [{quantize: {rung: roundings}}]"),
    "rung that trains, without minutes": recipe(
        steps="steps: [{quantize: {rung: qat, train_minutes: 0}}]"
    ),
    "speed-up of 0": recipe(more="gates: {int8_speedup: 0}"),
    "float nodes as numbers": recipe(steps="steps: [{quantize: {float_nodes: [12]}}]"),
    "unknown gate": recipe(more="gates: {psnr_drop: 0.1}"),
    "drop as a number": recipe(more="gates: {psnr_drop_db: 0.1}"),
    "gate of nothing": recipe(more="gates: {size_kb: }"),
    "infinite gate": recipe(more="gates: {latency_p90_ms: .inf}"),
    "share above 1": recipe(more="gates: {int8_macs_share: 90}"),
    "empty gates": recipe(more="gates:"),
    "one length of input": recipe(more="measure: {input_px: [360]}"),
    "no threads": recipe(more="measure: {threads: 0}"),
}

# What only the reader can see: the disk, the plugs, the order, two numbers against each other,
# and words that only one version of YAML takes for numbers.
ONLY_READER = {
    "unknown target": recipe(targets="targets: [generic-gpu]"),
    "missing file": recipe(network="network: {file: none.onnx, scale: 2}"),
    "unknown arch": recipe(network="network: {file: net.pth, scale: 2, arch: espnc}"),
    "missing folder": recipe(more="data: {calibration: none/}"),
    "one folder for both": recipe(more="data: {calibration: photos, validation: ./photos}"),
    "quantize before prune": recipe(steps="steps: [{quantize: {}}, {prune: {ratio: 0.5}}]"),
    "quantize twice": recipe(steps="steps: [{quantize: {}}, {quantize: {}}]"),
    "mean above worst": recipe(more="gates: {psnr_drop_db: {mean: 0.4, worst: 0.3}}"),
    "rate that rises": recipe(steps="steps: [{distill: {images: photos, learning_rate: 1.0e-7}}]"),
    "key twice": recipe(more="seed: 1\nseed: 2"),
    "octal": recipe(more="seed: 010"),
    "seed of 5000 digits": recipe(more=f"seed: {'9' * 5000}"),
    "endless hyper-parameter": recipe(
        network="network: {arch: sesr, scale: 2, hyper: {rate: 1.0e+999}}",
        steps="steps: [{distill: {images: photos}}]",
    ),
    "sexagesimal": recipe(more="seed: 1:30"),
    "thousands": recipe(more="seed: 1_000"),
    "fresh network untrained": recipe(network="network: {arch: sesr, scale: 2}"),
    "merge key": recipe(more="measure: {<<: {threads: 4}}"),
    "name as text of a number": recipe(more="name: 1e-3"),
    "yes for a truth value": recipe(steps="steps: [{quantize: {charts: yes}}]"),
}

GOOD_RECIPES = {
    "least": recipe(steps=None),
    "quantize with nothing": recipe(steps="steps:\n  - quantize:"),
    "whole number with a point": recipe(more="seed: 4.0"),
    "own file": recipe(network="network: {file: net.onnx, scale: 3, color: luma, white: 255}"),
    "weights": recipe(network="network: {file: net.pth, arch: sesr, scale: 2}"),
    "everything": recipe(
        network="network: {arch: sesr, scale: 2, hyper: {features: 16, rate: 0.5, deep: true}}",
        steps="steps:\n"
        "  - distill: {teacher: {file: net.onnx, scale: 2}, images: photos, exclude: [a.png]}\n"
        "  - prune: {macs_share: 0.5, finetune_steps: 10, images: photos, channel_multiple: 8}\n"
        "  - quantize: {float_nodes: [/Conv_1], rung: rounding, charts: false}",
        more="name: a.b-c_d\nseed: 7\ndata: {calibration: photos, validation: others}\n"
        "gates: {psnr_drop_db: {mean: 0.1}, size_kb: 10}\n"
        "measure: {threads: 1, min_runs: 5, min_s: 0, input_px: [64, 96]}",
    ),
}

TARGET = {
    "version": "version: 1",
    "name": "name: board",
    "title": "title: A board",
    "builds": "builds: [{backend: onnxruntime, scheme: onnxruntime}]",
}


def target(**lines):
    """The text of a good target named `board` with some of its lines replaced."""
    return "\n".join(line for line in {**TARGET, **lines}.values() if line is not None) + "\n"


BAD_TARGETS = {
    "no title": target(title=None),
    "no builds": target(builds="builds: []"),
    "unknown scheme": target(builds="builds: [{backend: onnxruntime, scheme: tensort}]"),
    "unknown build key": target(
        builds="builds: [{backend: onnxruntime, scheme: onnxruntime, io: uint8}]"
    ),
    "fact without a source": target(more="rules: [{text: It is slow.}]"),
    "limit without a source": target(more="limits: {max_rank: {value: 4, instead: fewer axes}}"),
    "limit as a number": target(more="limits: {max_rank: 4}"),
    "operator in small letters": target(
        more="limits: {operators: {resize: {instead: x, source: y}}}"
    ),
    "unknown level": target(
        more="limits: {operators: {Resize: {level: bad, instead: x, source: y}}}"
    ),
    "tile of three": target(
        builds="builds: [{backend: onnxruntime, scheme: onnxruntime, tile: [8, 8, 3]}]"
    ),
    "flat drop gate": target(more="gates: {psnr_drop_db_mean: 0.1}"),
}
