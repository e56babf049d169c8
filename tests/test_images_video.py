"""A video keeps its frame times, colours, sound and rotation; only its size changes."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from test_images_tiles import contract

from toolkit.errors import EnvironmentFailure, UserError
from toolkit.images.video import even_sides, upscale_video

TIMES = [0, 1, 2, 3, 5, 6, 7, 9]  # in 1/12.5 s; the source dropped two frames
BT709, FULL_RANGE = 1, 2


def enlarge(scale):
    return lambda tensor: tensor.repeat(scale, axis=2).repeat(scale, axis=3)


def silent(done, total, note):
    """Progress that nobody watches."""


def frame_rgb(index, height, width):
    """A bright block that walks over a coloured gradient."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 200 // width + 20, y * 200 // height + 20, x * 0 + 90], axis=2)
    rgb[8:20, 4 + 4 * index : 12 + 4 * index] = 230
    return rgb.astype(np.uint8)


def make_video(path, *, size=(48, 64), codec="libx264", pix_fmt="yuv420p", sound="aac", rotation=0):
    with av.open(str(path), "w") as sink:
        picture = sink.add_stream(codec, rate=Fraction(25, 2), options={"crf": "8"})
        picture.height, picture.width, picture.pix_fmt = *size, pix_fmt
        picture.codec_context.time_base = Fraction(2, 25)
        picture.colorspace = picture.color_primaries = picture.color_trc = BT709
        if rotation:
            picture.set_display_rotation(rotation)
        track = sink.add_stream(sound, rate=48000) if sound else None
        for index, time in enumerate(TIMES):
            frame = av.VideoFrame.from_ndarray(frame_rgb(index, *size), format="rgb24")
            frame = frame.reformat(format=pix_fmt, dst_colorspace=BT709)
            frame.pts, frame.time_base = time, Fraction(2, 25)
            sink.mux(picture.encode(frame))
        if track:
            tone = np.sin(np.arange(48000 // 2) / 20).astype(np.float32)[None] / 2
            sink.mux(track.encode(audio_frame(tone)))
            sink.mux(track.encode(None))
        sink.mux(picture.encode(None))


def audio_frame(samples):
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 48000, 0
    return frame


def frames_of(path):
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def sound_of(path):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(audio=0) if p.dts is not None]


def pixels(frame):
    return frame.to_ndarray(format="rgb24", interpolation="ACCURATE_RND").astype(int)


def gaps(frames):
    """Seconds since the first frame; Matroska moves all tracks so that none starts below zero."""
    return [frame.time - frames[0].time for frame in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_times_colours_and_sound_are_kept(tmp_path, suffix):
    make_video(tmp_path / "in.mp4")
    seen = []
    notes = upscale_video(
        tmp_path / "in.mp4",
        tmp_path / f"out{suffix}",
        contract(scale=2),
        enlarge(2),
        lambda *progress: seen.append(progress),
    )
    before, after = frames_of(tmp_path / "in.mp4"), frames_of(tmp_path / f"out{suffix}")
    assert notes == ()
    assert seen == [(i, len(TIMES), "128 x 96") for i in range(1, len(TIMES) + 1)]
    assert gaps(after) == pytest.approx(gaps(before), abs=2e-3)
    assert {f.colorspace for f in after} == {BT709}
    for small, large in zip(before, after, strict=True):
        wanted = pixels(small).repeat(2, axis=0).repeat(2, axis=1)
        difference = pixels(large) - wanted
        assert np.abs(difference).mean() < 2.5
        assert np.abs(difference.mean(axis=(0, 1))).max() < 0.8  # neither darker nor tinted
    assert sound_of(tmp_path / f"out{suffix}") == sound_of(tmp_path / "in.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", f"out{suffix}"]


def test_a_rotated_video_stays_rotated(tmp_path):
    make_video(tmp_path / "in.mp4", rotation=90)
    upscale_video(tmp_path / "in.mp4", tmp_path / "out.mp4", contract(scale=2), enlarge(2), silent)
    before, after = frames_of(tmp_path / "in.mp4")[0], frames_of(tmp_path / "out.mp4")[0]
    assert abs(before.rotation) == 90
    assert after.rotation == before.rotation
    assert (after.width, after.height) == (2 * before.width, 2 * before.height)


def test_odd_sides_are_continued_by_their_edge(tmp_path):
    make_video(tmp_path / "in.mkv", size=(25, 41), codec="ffv1", pix_fmt="yuv444p", sound=None)
    upscale_video(tmp_path / "in.mkv", tmp_path / "out.mkv", contract(scale=3), enlarge(3), silent)
    after = frames_of(tmp_path / "out.mkv")
    assert (after[0].height, after[0].width) == (76, 124)
    odd = frame_rgb(0, 3, 5)
    assert (even_sides(odd)[:3, :5] == odd).all()
    assert (even_sides(odd)[3, 5] == odd[2, 4]).all()


def test_a_sound_that_does_not_fit_is_left_out_with_a_note(tmp_path):
    make_video(tmp_path / "in.mkv", sound="wavpack")
    notes = upscale_video(
        tmp_path / "in.mkv", tmp_path / "out.mp4", contract(scale=2), enlarge(2), silent
    )
    assert len(frames_of(tmp_path / "out.mp4")) == len(TIMES)
    assert notes == ("the sound (wavpack) does not fit into this format: left out",)


def test_damaged_and_soundless_pictureless_videos_are_refused_by_name(tmp_path):
    make_video(tmp_path / "whole.mp4")
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    with av.open(str(tmp_path / "sound.mp4"), "w") as sink:
        track = sink.add_stream("aac", rate=48000)
        sink.mux(track.encode(audio_frame(np.zeros((1, 4800), np.float32))))
        sink.mux(track.encode(None))
    for name, reason in (("cut", ""), ("text", ""), ("sound", "it has no picture track")):
        with pytest.raises(UserError, match=f"cannot read the video `{name}.mp4`: {reason}"):
            upscale_video(
                tmp_path / f"{name}.mp4", tmp_path / "o.mp4", contract(scale=2), enlarge(2), silent
            )
    assert not (tmp_path / "o.mp4").exists()


def test_a_run_that_dies_leaves_the_old_result_alone(tmp_path):
    make_video(tmp_path / "in.mp4")
    (tmp_path / "out.mp4").write_bytes(b"old")

    def dies(tensor):
        raise MemoryError

    with pytest.raises(MemoryError):
        upscale_video(tmp_path / "in.mp4", tmp_path / "out.mp4", contract(scale=2), dies, silent)
    assert (tmp_path / "out.mp4").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_where_the_result_cannot_go(tmp_path):
    make_video(tmp_path / "in.mp4")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EnvironmentFailure, match=r"cannot write `out\.mp4`"):
        upscale_video(
            tmp_path / "in.mp4",
            tmp_path / "file" / "out.mp4",
            contract(scale=2),
            enlarge(2),
            silent,
        )
    with pytest.raises(UserError, match=r"a video is written as .mp4, .mkv, .mov, found `.webm`"):
        upscale_video(
            tmp_path / "in.mp4", tmp_path / "out.webm", contract(scale=2), enlarge(2), silent
        )
