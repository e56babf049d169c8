"""Words in, words out, exit code; decides nothing.

Each command imports what it needs when it runs, so that `--help`, `check` and `plan` answer at
once and import neither torch nor a runtime.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from toolkit import __version__
from toolkit.errors import EnvironmentFailure, ToolkitError

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
EPILOG = """\
exit codes: 0 done   1 bug   2 recipe, network or picture   3 this machine   4 gate failed
            5 tampering   130 interrupted (`run` resumes)

example:    edgesr run recipes/jetson.yaml
"""

Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code of `toolkit.errors`."""
    arguments = _parser().parse_args(argv)
    try:
        return _handler(arguments.command)(arguments)
    except ToolkitError as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return problem.exit_code
    except BrokenPipeError:
        return 0  # the reader of our output closed it, e.g. `| head`
    except OSError as problem:
        failure = EnvironmentFailure(
            problem.strerror or str(problem),
            where=str(problem.filename or ""),
            hint=f"look at free space and permissions{_KEPT * _resumes(arguments)}",
        )
        print(failure, file=sys.stderr)  # noqa: T201
        return failure.exit_code
    except KeyboardInterrupt:
        told = "interrupted: run the same command again to resume"
        print(told if _resumes(arguments) else "interrupted", file=sys.stderr)  # noqa: T201
        return EXIT_INTERRUPTED
    except Exception:  # the one place: anything else is a bug of ours
        traceback.print_exc()
        print("\nthis is a bug in edgesr; please report the lines above", file=sys.stderr)  # noqa: T201
        return EXIT_BUG


_KEPT = "; finished steps are kept, run again"


def _resumes(arguments: argparse.Namespace) -> bool:
    """Whether this command keeps what it finished: a measurement is taken whole or not at all."""
    return str(arguments.command) == "run"


def _handler(command: str) -> Handler:
    import importlib

    module = importlib.import_module(f"toolkit.commands.{command}")
    handler: Handler = module.run
    return handler


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgesr",
        description="Takes a trained super-resolution network to INT8 files for a device, and "
        "proves on real pictures that they are still good.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgesr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_recipe_commands(commands)
    _add_model_commands(commands)
    _add_bundle_commands(commands)
    _add_pull(commands)
    _add_export(commands)
    _add_channel_commands(commands)
    return parser


if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _command(commands: Commands, name: str, purpose: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=purpose,
        description=purpose,
        epilog=f"example:  edgesr {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="a recipe, e.g. recipes/jetson.yaml")
    parser.add_argument("--target", action="append", help="only this target of the recipe")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where bundles go (out)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(".edgesr"),
        help="where finished steps are kept (.edgesr)",
    )


def _add_recipe_commands(commands: Commands) -> None:
    run = _command(
        commands, "run", "build, measure and pack what a recipe says", "run recipes/jetson.yaml"
    )
    _add_places(run)
    run.add_argument(
        "--device",
        action="append",
        metavar="[TARGET=]URL",
        help="measure on this device: local:, ssh://USER@HOST, adb:SERIAL",
    )
    _add_reach(run)
    plan = _command(
        commands, "plan", "say what `run` would do, and why", "plan recipes/jetson.yaml"
    )
    _add_places(plan)
    check = _command(
        commands, "check", "find every problem of recipes and targets", "check my.yaml"
    )
    check.add_argument("files", nargs="+", type=Path, help="recipes or targets")
    init = _command(
        commands, "init", "print a recipe for a network of yours",
        "init my.onnx --scale 2 --target jetson-orin-nano > my.yaml",
    )  # fmt: skip
    init.add_argument("model", type=Path, help="an .onnx, .safetensors or .pth file")
    init.add_argument("--scale", type=int, required=True, help="2, 3 or 4")
    init.add_argument("--target", action="append", required=True, help="a target's name")
    init.add_argument("--arch", help="the architecture of a weight file")
    schema = _command(
        commands, "schema", "print the JSON Schema of recipes or targets", "schema recipe"
    )
    schema.add_argument("kind", choices=("recipe", "target"))


def _add_reach(parser: argparse.ArgumentParser) -> None:
    """How a device is reached, the same wherever one may be named."""
    add = parser.add_argument
    add("--wait", type=float, default=0.0, metavar="S", help="seconds, for a device that is busy")
    add("--accept-new-host", action="store_true", help="trust a host key never seen before")


def _add_model_commands(commands: Commands) -> None:
    inspect = _command(
        commands,
        "inspect",
        "what a network is, and what each target says of it",
        "inspect my.onnx --scale 2",
    )
    inspect.add_argument("model", type=Path, help="an .onnx, .safetensors or .pth file")
    inspect.add_argument("--scale", type=int, required=True, help="2, 3 or 4; it is checked")
    inspect.add_argument("--arch", help="the architecture of a weight file")
    _command(commands, "doctor", "try every runtime in a process of its own", "doctor")


def _add_bundle_commands(commands: Commands) -> None:
    _add_devices(commands)
    _add_bench(commands)
    _add_validate(commands)
    upscale = _command(
        commands, "upscale", "upscale a picture, a folder of them, or a video",
        "upscale street.png street-x2.png --bundle out/intel/intel-n100",
    )  # fmt: skip
    upscale.add_argument("source", type=Path)
    upscale.add_argument("goal", type=Path)
    upscale.add_argument("--bundle", type=Path, required=True)
    upscale.add_argument("--file", help="which file of the bundle (the INT8 one)")
    upscale.add_argument("--threads", type=int, default=2)


def _add_devices(commands: Commands) -> None:
    devices = _command(
        commands, "devices", "which devices are reachable, and who is at work on them",
        "devices ssh://user@board\n          edgesr devices prepare emulated:aarch64",
    )  # fmt: skip
    add = devices.add_argument
    add("urls", nargs="*", metavar="URL",
        help="local:, ssh://USER@HOST, adb:SERIAL, emulated:aarch64 (all that can be seen, and "
        "those that ./recipes names)")  # fmt: skip
    add("--clean", action="store_true", help="remove everything that earlier runs left there")
    _add_reach(devices)


def _add_bench(commands: Commands) -> None:
    bench = _command(
        commands, "bench", "time a bundle's files, or one file, on a device",
        "bench out/jetson/jetson-orin-nano --device ssh://user@board",
    )  # fmt: skip
    add = bench.add_argument
    add("bundle", type=Path, metavar="BUNDLE|FILE", help="a bundle, or an .onnx, .tflite, .xml")
    add("--device", default="local:", metavar="URL",
        help="local: (the default), ssh://USER@HOST, adb:SERIAL, emulated:aarch64")  # fmt: skip
    add("--file", action="append", metavar="NAME", help="only this file of the bundle")
    add("--threads", type=int, default=2)
    add("--min-runs", type=int, default=100, metavar="N", help="over all rounds (100)")
    add("--min-s", type=float, default=10.0, metavar="S", help="over all rounds (10)")
    add("--rounds", type=int, default=3, metavar="N", help="processes per file, in turn (3)")
    add("--warm-up", type=float, default=1.0, metavar="S", help="untimed, per process (1)")
    add("--sustained", type=float, default=0.0, metavar="MIN", help="load before the clock")
    add("--size", default="360x640", help="HEIGHTxWIDTH of files of free size (360x640)")
    add("--tune", action="store_true", help="set the device's governor, and restore it")
    add("--require-stable", action="store_true", help="exit 4 where the samples are UNSTABLE")
    add("--tool", choices=("auto", "runner", "vendor"), default="auto",
        help="ours, or trtexec, benchmark_model, benchmark_app")  # fmt: skip
    _add_reach(bench)
    add("--out", type=Path, metavar="FILE", help="where the result goes (BUNDLE.bench/)")
    compare = _command(
        commands, "compare", "two results of one device: slower, faster, or no difference seen?",
        "compare old.json out/intel/intel-n100",
    )  # fmt: skip
    compare.add_argument("before", type=Path, metavar="A", help="a result, or a bundle")
    compare.add_argument("after", type=Path, metavar="B", help="a result, or a bundle")
    compare.add_argument("--limit", default="5%", help="how much slower B may be (5%%)")
    compare.add_argument(
        "--require-stable", action="store_true", help="exit 4 where nothing can be decided"
    )


def _add_validate(commands: Commands) -> None:
    validate = _command(
        commands, "validate", "is a bundle, or one file, as good as the float network?",
        "validate out/jetson/jetson-orin-nano --data photos/ --html qa.html",
    )  # fmt: skip
    add = validate.add_argument
    add("subject", type=Path, metavar="BUNDLE|FILE", help="a bundle, or an .onnx, .tflite, .xml")
    add("--data", type=Path, metavar="DIR", help="HR pictures (the shipped ones)")
    add("--lr", type=Path, metavar="DIR", help="their LR pictures (made from HR)")
    add("--own-lr", action="store_true", help="accept LR of another kernel, as another protocol")
    add("--scale", type=int, help="of a bare file: 2, 3 or 4")
    add("--reference", type=Path, metavar="FILE", help="the float network as .onnx")
    add("--color", choices=("rgb", "bgr", "luma"), help="of a bare file (probed)")
    add("--white", type=float, choices=(1.0, 255.0), help="of a bare file (probed)")
    add("--budget", action="append", metavar="STAGE=MEAN,WORST", help="dB a stage may lose")
    add("--images", type=int, metavar="N", help="only the first N pictures")
    add("--threads", type=int, default=2)
    add("--device", metavar="URL", help="local:, ssh://USER@HOST, adb:SERIAL, emulated:aarch64")
    _add_reach(validate)
    add("--bench", type=Path, metavar="FILE", help="times from `edgesr bench --out`, to be held")
    for kind in ("csv", "junit", "html"):
        add(f"--{kind}", type=Path, metavar="FILE", help=f"write {kind.upper()} there as well")


def _add_pull(commands: Commands) -> None:
    from toolkit.pull.words import add_options

    pull = _command(
        commands, "pull", "on a camera: look for a better model, serve it once it proved itself",
        "pull --channel https://cdn.example/models --device-id @/etc/machine-id "
        "--root root.json --store /data/models",
    )  # fmt: skip
    add_options(pull)
    pull.add_argument(
        "--write-client", type=Path, metavar="FILE", help="write edgesr-pull.pyz for cameras"
    )


def _add_export(commands: Commands) -> None:
    from toolkit.words.exporting import add_options

    export = _command(
        commands, "export", "a channel's release in the format of another update system",
        "export swupdate --channel channel/ --out street.swu --cert c.pem --key k.pem",
    )  # fmt: skip
    add_options(export)


def _add_channel_commands(commands: Commands) -> None:
    from toolkit.words.publishing import add_commands

    add_commands(commands, _command)
