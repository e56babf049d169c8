"""Results on disk: read back whole, found by what was run, refused where it was something else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from bench_parts import noisy_rounds, result, timing

from toolkit.benchmark import benchmark
from toolkit.errors import UserError
from toolkit.measure.results import newest, read, results_folder, store, write


def taken(digest="a" * 64, at="2026-11-21T15:00:00Z"):
    return result(timing(noisy_rounds(), digest=digest), taken_at=at)


def test_a_result_reads_back_as_it_was(tmp_path):
    path = store(taken(), tmp_path / "pi")
    assert read(path) == taken()
    assert benchmark(json.loads(json.dumps(taken().as_json()))) == taken()


def test_results_lie_beside_the_bundle_and_are_named_by_time_and_device(tmp_path):
    bundle = tmp_path / "pi"
    bundle.mkdir()
    path = store(taken(), bundle)
    assert path == tmp_path / "pi.bench" / "20261121T150000Z-ssh-pi-camera-01234567.json"
    assert list(bundle.iterdir()) == []


def test_a_device_url_cannot_lead_out_of_the_folder(tmp_path):
    device = replace(taken().device, url="ssh://../../../etc/x\x00", identity="../../" + "0" * 8)
    path = store(replace(taken(), device=device), tmp_path / "pi")
    assert path.parent == results_folder(tmp_path / "pi")


def test_two_results_of_one_second_are_both_kept(tmp_path):
    first, second = (store(taken(), tmp_path / "pi") for _ in range(2))
    assert first != second
    assert len(list(first.parent.iterdir())) == 2
    assert newest(tmp_path / "pi", {"tiny.int8.onnx": "a" * 64})[0] == taken()


def test_the_newest_result_of_these_bytes_is_found(tmp_path):
    bundle = tmp_path / "pi"
    store(taken(at="2026-11-21T15:00:00Z"), bundle)
    wanted = store(taken(at="2026-11-21T15:00:01Z"), bundle)
    store(taken(digest="b" * 64, at="2026-11-21T15:00:02Z"), bundle)
    assert newest(bundle, {"tiny.int8.onnx": "a" * 64}) == (read(wanted), wanted)


def test_results_of_other_bytes_are_refused_by_name_and_digest(tmp_path):
    bundle = tmp_path / "pi"
    store(taken(at="2026-11-21T15:00:00Z"), bundle)
    store(taken(digest="b" * 64, at="2026-11-21T15:00:01Z"), bundle)
    with pytest.raises(UserError) as caught:
        newest(bundle, {"tiny.int8.onnx": "c" * 64})
    assert "`tiny.int8.onnx` had SHA-256 bbbbbbbbbbbb, it is cccccccccccc now" in str(caught.value)
    with pytest.raises(UserError, match="is not in the bundle"):
        newest(bundle, {"other.onnx": "a" * 64})


def test_no_result_yet_says_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match="no result of a bench yet") as caught:
        newest(tmp_path / "pi", {})
    assert "edgesr bench" in caught.value.hint


def changed(**values):
    return json.dumps({**taken().as_json(), **values})


def without(key):
    value = taken().as_json()
    del value[key]
    return json.dumps(value)


def file_changed(**values):
    return changed(files=[{**taken().as_json()["files"][0], **values}])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "\x00",
        "[" * 100_000,
        changed(schema=2),
        changed(device=7),
        changed(files=[7]),
        changed(files="x"),
        changed(bundle=[]),
        changed(more=1),
        without("protocol"),
        file_changed(samples_ns=[["fast"]]),
        file_changed(samples_ns=[[-1]]),
        file_changed(samples_ns=[[1.5]]),
        file_changed(samples_ns=7),
        file_changed(file=None),
        file_changed(digest=7),
        file_changed(units=[{}]),
        file_changed(height_px="360"),
        file_changed(height_px=True),
        file_changed(load_ms=[float("nan")]),
        file_changed(conditions=[7]),
        file_changed(load_ms=["x"]),
        file_changed(load_ms=[10**400]),
        file_changed(samples_ns=[[10**400]]),
        file_changed(stability={"is_stable": 1, "reasons": [7]}),
    ],
    ids=lambda text: text[:12] + text[-40:],
)
def test_a_file_that_is_no_result_is_a_sentence(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(path)
    assert "this is no result of `edgesr bench`" in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no result of a bench is there"):
        read(tmp_path / "x.json")


def test_an_older_result_stays_where_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "x.json"
    write(taken(), path)
    broken = replace(taken(), bundle=float("nan"))  # no JSON value
    with pytest.raises(ValueError, match="JSON"):
        write(broken, path)
    assert read(path) == taken()
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_a_result_says_what_it_lacks(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(without("protocol"))
    with pytest.raises(UserError, match=r"it lacks `benchmark\.protocol`"):
        read(path)


def test_the_newest_result_that_can_be_compared_is_taken(tmp_path):
    bundle, digests = tmp_path / "pi", {"tiny.int8.onnx": "a" * 64}
    wanted = store(taken(), bundle)
    other = replace(taken().device, identity="f" * 16, name="another board")
    store(replace(taken(at="2026-11-21T15:00:01Z"), device=other), bundle)
    timeless = result(timing((), digest="a" * 64), taken_at="2026-11-21T15:00:02Z")
    emulated = store(timeless, bundle)
    damaged = emulated.with_name("20261121T150003Z-x.json")
    damaged.write_text("{")
    said: list[str] = []
    found, path = newest(bundle, digests, device=taken().device, say=said.append)
    assert (found, path) == (taken(), wanted)
    (line,) = said
    assert line.startswith(f"warning: {damaged} is left out: this is no result")
    wanted.unlink()
    with pytest.raises(UserError, match=r"no result can be taken; the newest: .*has no times"):
        newest(bundle, digests, device=taken().device)
    emulated.unlink()
    with pytest.raises(UserError, match="another device, another board, not Raspberry Pi 5"):
        newest(bundle, digests, device=taken().device)
