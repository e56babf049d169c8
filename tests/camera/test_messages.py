"""What somebody reads who starts a pull by hand."""

from __future__ import annotations

from camera.running import start


def test_a_server_that_is_off_is_told_as_such_and_not_as_a_time_out(camera, server):
    server.stop()
    outcome = camera.pull(tries="1")
    assert outcome.kind == "network"
    assert "connect" in outcome.stderr.lower()
    assert " s\n" not in outcome.stderr.splitlines(keepends=True)[0]


def test_the_path_of_the_model_is_in_the_answer(camera):
    words = [word for word in camera.words() if word != "--json"]
    done = start(words).wait(60)
    assert done.code == 0
    (model,) = (line.split()[-1] for line in done.stdout.decode().splitlines() if "/" in line)
    assert model == camera.pull().result["path"]
