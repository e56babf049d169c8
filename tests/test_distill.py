"""Training: it learns, it survives being killed, it runs on several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from tiny_project import photograph, tiny_network

from toolkit.contracts import StepInput
from toolkit.errors import UserError
from toolkit.images.sets import ImageSet
from toolkit.model.contract import ImageContract
from toolkit.model.network import read_network, write_network
from toolkit.run.step_process import run_in_processes
from toolkit.steps import distill
from toolkit.train.loop import TrainSettings, learning_rate_at

PARAMS = {
    "exclude": (),
    "holdout_every": 3,
    "steps": 60,
    "batch": 4,
    "lr_px": 16,
    "learning_rate": 2e-3,
    "final_learning_rate": 1e-5,
    "warmup_steps": 5,
    "loss": "l1",
    "weight_hr": 1.0,
    "weight_teacher": 0.0,
    "weight_features": 0.0,
    "ema": 0.9,
    "bfloat16_share": 0.0,
    "threads": 1,
    "seed": 3,
    "arch": None,
}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(6):
        Image.fromarray(photograph(seed)).save(folder / f"{seed}.png")
    return folder


def given(tmp_path, images, *, networks=None, contract=None, work="work", **changes):
    source = tmp_path / "tiny.onnx"
    tiny_network(source)
    contract = contract or ImageContract(scale=2)
    network = write_network(onnx.load(source), contract, tmp_path / "spine.onnx")
    return StepInput(
        network=network,
        params={**PARAMS, "images": str(images), **changes},
        calibration=ImageSet(name="none", files=()),
        work=tmp_path / work,
        show=lambda progress: None,
        networks=networks or {},
    )


def weights(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def trained(step_input, out: Path):
    out.mkdir()
    facts = distill.run(step_input, out)
    return facts, out / "network.onnx"


def test_training_improves_the_holdout(tmp_path, images):
    before, _ = trained(given(tmp_path, images, steps=1, learning_rate=1e-6), tmp_path / "a")
    after, _ = trained(given(tmp_path, images, steps=150, work="w2"), tmp_path / "b")
    assert after["holdout_psnr_db"] > before["holdout_psnr_db"] + 0.3
    assert after["training_images"] == 4


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, images):
    _, first = trained(given(tmp_path, images, work="1"), tmp_path / "a")
    _, again = trained(given(tmp_path, images, work="2"), tmp_path / "b")
    _, other = trained(given(tmp_path, images, work="3", seed=4), tmp_path / "c")
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_a_killed_training_continues_to_the_same_weights(tmp_path, images):
    """Killed for real, after at least one checkpoint; then the same step is run again."""
    _, undisturbed = trained(given(tmp_path, images, work="calm"), tmp_path / "calm-out")
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_distill import given
        from toolkit.steps import distill
        from toolkit.train import loop
        loop.TrainSettings.__dataclass_fields__["checkpoint_every_s"].default = 0.0
        loop.TrainSettings.__init__.__kwdefaults__["checkpoint_every_s"] = 0.0
        folder = Path({str(tmp_path)!r})
        def show(progress):
            print(progress.done, flush=True)
        import dataclasses
        step = dataclasses.replace(given(folder, Path({str(images)!r}), work="killed"), show=show)
        (folder / "killed-out").mkdir()
        distill.run(step, folder / "killed-out")
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline().strip() == "20"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "killed-out" / "network.onnx").exists()
    (tmp_path / "killed-out").rmdir()
    stored = torch.load(tmp_path / "killed" / distill.CHECKPOINT, weights_only=True)
    assert 20 <= stored["step"] < PARAMS["steps"]
    _, resumed = trained(given(tmp_path, images, work="killed"), tmp_path / "killed-out")
    assert resumed.read_bytes() == undisturbed.read_bytes()


def test_two_processes_train_one_network(tmp_path, images):
    """Under torchrun, on the CPU: the same steps, each process half of the batch."""
    out = tmp_path / "out"
    out.mkdir()
    step = given(tmp_path, images, steps=100)
    facts = run_in_processes("distill", step, out, 2)
    alone, _ = trained(given(tmp_path, images, steps=100, work="alone"), tmp_path / "alone-out")
    assert facts["holdout_psnr_db"] == pytest.approx(alone["holdout_psnr_db"], abs=0.5)
    assert [p.name for p in out.iterdir()] == ["network.onnx"]
    assert read_network(out / "network.onnx").contract.scale == 2


def test_a_failure_in_processes_is_told(tmp_path, images):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="2 processes") as caught:
        run_in_processes("distill", given(tmp_path, tmp_path / "nowhere"), tmp_path / "out", 2)
    assert "no picture to train on" in str(caught.value)


def test_a_teacher_pulls_the_student_towards_itself(tmp_path, images):
    """With the teacher's picture as the only goal, the student ends nearer to the teacher."""
    tiny_network(tmp_path / "teacher.onnx", seed=7)
    teacher = write_network(
        onnx.load(tmp_path / "teacher.onnx"), ImageContract(scale=2), tmp_path / "t.onnx"
    )
    only_teacher = {"weight_hr": 0.0, "weight_teacher": 1.0, "weight_features": 0.1, "steps": 200}
    step = given(tmp_path, images, networks={"teacher": teacher}, **only_teacher)
    _, student = trained(step, tmp_path / "out")
    started = distance(step.network.path, teacher.path)
    assert distance(student, teacher.path) < 0.7 * started


def distance(ours, theirs):
    import onnxruntime as ort

    picture = photograph(9)[:48, :48].transpose(2, 0, 1)[None].astype(np.float32) / 255
    answers = [
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
            None, {"lr": picture}
        )
        for path in (ours, theirs)
    ]
    return np.abs(answers[0][0] - answers[1][0]).mean()


def test_a_teacher_of_another_scale_is_refused(tmp_path, images):
    module, scale, channels, *_ = networks.build("espcn_tanh_x3")
    assert scale == 3
    from toolkit.model.torch_bridge import to_onnx

    model = to_onnx(module, channels=channels, scale=scale)
    teacher = write_network(model, ImageContract(scale=3), tmp_path / "t.onnx")
    with pytest.raises(UserError, match="same pixels"):
        distill.run(given(tmp_path, images, networks={"teacher": teacher}), tmp_path)


def test_networks_that_speak_0_to_255_are_trained_in_their_own_range(tmp_path, images):
    contract = ImageContract(scale=2, white=255.0)
    step = given(tmp_path, images, contract=contract, steps=1, learning_rate=1e-9)
    _, path = trained(step, tmp_path / "out")
    before, after = weights(step.network.path), weights(path)
    assert sorted(v.shape for v in before.values()) == sorted(v.shape for v in after.values())
    assert read_network(path).contract.white == 255.0


def test_the_learning_rate_rises_then_follows_half_a_cosine():
    settings = TrainSettings(
        steps=1100, warmup_steps=100, learning_rate=1.0, final_learning_rate=0.0
    )
    assert learning_rate_at(49, settings) == pytest.approx(0.5)
    assert learning_rate_at(100, settings) == pytest.approx(1.0)
    assert learning_rate_at(600, settings) == pytest.approx(0.5)
    assert learning_rate_at(1100, settings) == pytest.approx(0.0)


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path, images):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    work = tmp_path / "work"
    work.mkdir()
    torch.save({"step": Evil()}, work / distill.CHECKPOINT)
    (tmp_path / "out").mkdir()
    with pytest.raises(Exception, match=r"[Ww]eights"):
        distill.run(given(tmp_path, images), tmp_path / "out")
    assert not (tmp_path / "canary").exists()
