"""A video through a network, frame by frame: same frame times, same colour space, sound kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from toolkit.errors import EnvironmentFailure, UserError
from toolkit.images.decode import replacing
from toolkit.images.resize import Image
from toolkit.images.tiles import upscale_rgb
from toolkit.model.contract import IoContract

if TYPE_CHECKING:
    from toolkit.contracts import Tensor

SINK_SUFFIXES = (".mp4", ".mkv", ".mov")
# Visually lossless for 8-bit H.264, so that the codec does not undo what the network added.
X264_OPTIONS = {"crf": "17", "preset": "medium"}
# The default conversion is fast and darkens the picture by one level on average.
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
MPEG4_OPTIONS = {"qscale": "2"}


def upscale_video(
    src: Path,
    dst: Path,
    contract: IoContract,
    run: Callable[[Tensor], Tensor],
    show: Callable[[int, int, str], None],
) -> tuple[str, ...]:
    """Upscale every frame of `src` into the new file `dst` (H.264, or MPEG-4 without libx264).

    Frame times, colour space, range and rotation are those of the source; the first sound track is
    copied where the file format of `dst` can hold it. `show(done, total, note)` after each frame;
    `total` is 0 where the file does not say. Returns notes, for instance on a sound that was left
    out. Raises UserError where `src` is no readable video or `dst` no known format, and
    EnvironmentFailure where `dst` cannot be written; `dst` is then as it was.
    """
    if dst.suffix.lower() not in SINK_SUFFIXES:
        raise UserError(
            f"a video is written as {', '.join(SINK_SUFFIXES)}, found `{dst.suffix}`",
            where=str(dst),
        )
    first = _first_frame(src)
    with _opened(src) as source, replacing(dst) as temporary:
        try:
            with av.open(str(temporary), "w") as sink:
                return _copy(source, sink, first, contract, run, show)
        except av.FFmpegError as problem:
            raise EnvironmentFailure(
                f"cannot write the video: {problem.strerror}", where=str(dst)
            ) from problem


def _opened(src: Path) -> InputContainer:
    try:
        return av.open(str(src))
    except (av.FFmpegError, OSError) as problem:
        raise _no_video(src, problem.strerror or str(problem)) from problem


def _first_frame(src: Path) -> VideoFrame:
    """The frame that tells size, colour space and rotation before anything is written."""
    with _opened(src) as source:
        if not source.streams.video:
            raise _no_video(src, "it has no picture track")
        for packet in source.demux(source.streams.video[0]):
            for frame in _decoded(packet):
                return frame
    raise _no_video(src, "not one frame can be decoded")


def _no_video(src: Path, reason: str) -> UserError:
    return UserError(f"cannot read the video `{src.name}`: {reason}", where=str(src))


def _decoded(packet: Packet[VideoStream]) -> Iterator[VideoFrame]:
    """The frames that a packet completes; none for a damaged one, as players do."""
    try:
        yield from packet.decode()
    except av.error.InvalidDataError:
        return


def even_sides(rgb: Image) -> Image:
    """The picture, continued by its edge row or column where a side is odd: 4:2:0 needs even."""
    below, right = rgb.shape[0] % 2, rgb.shape[1] % 2
    return np.ascontiguousarray(np.pad(rgb, ((0, below), (0, right), (0, 0)), mode="edge"))


def _copy(
    source: InputContainer,
    sink: OutputContainer,
    first: VideoFrame,
    contract: IoContract,
    run: Callable[[Tensor], Tensor],
    show: Callable[[int, int, str], None],
) -> tuple[str, ...]:
    track = source.streams.video[0]
    picture, picture_notes = _add_picture(sink, track, first, contract.image.scale)
    sound, sound_notes = _add_sound(sink, source)
    pts = -1
    for done, frame in enumerate(_frames(source, sink, sound), start=1):
        large = _upscaled(frame, first, contract, run)
        # x264 refuses frames that do not come later than the one before.
        pts = pts + 1 if frame.pts is None else max(frame.pts, pts + 1)
        large.pts, large.time_base = pts, frame.time_base
        sink.mux(picture.encode(large))
        show(done, track.frames, f"{large.width} x {large.height}")
    sink.mux(picture.encode(None))
    return (*picture_notes, *sound_notes)


def _add_picture(
    sink: OutputContainer, track: VideoStream, first: VideoFrame, scale: int
) -> tuple[VideoStream, tuple[str, ...]]:
    """A stream like the source's, `scale` times as large."""
    x264 = "libx264" in av.codecs_available
    stream = sink.add_stream(
        "libx264" if x264 else "mpeg4",
        rate=track.average_rate or Fraction(25),
        options=X264_OPTIONS if x264 else MPEG4_OPTIONS,
    )
    stream.width = first.width * scale + first.width * scale % 2
    stream.height = first.height * scale + first.height * scale % 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = track.time_base or Fraction(1, 90000)
    stream.color_range = first.color_range
    stream.colorspace = first.colorspace
    stream.color_primaries = first.color_primaries
    stream.color_trc = first.color_trc
    if first.rotation:
        stream.set_display_rotation(first.rotation)
    return stream, () if x264 else ("this build has no libx264: written as MPEG-4",)


def _add_sound(
    sink: OutputContainer, source: InputContainer
) -> tuple[AudioStream | None, tuple[str, ...]]:
    if not source.streams.audio:
        return None, ()
    track = source.streams.audio[0]
    try:
        return sink.add_stream_from_template(track), ()
    except (ValueError, av.FFmpegError):
        name = track.codec_context.name
        return None, (f"the sound ({name}) does not fit into this format: left out",)


def _frames(
    source: InputContainer, sink: OutputContainer, sound: AudioStream | None
) -> Iterator[VideoFrame]:
    """The frames in the order they are shown; sound packets go to the sink on the way."""
    picture = source.streams.video[0]
    tracks = [picture] if sound is None else [picture, source.streams.audio[0]]
    for packet in source.demux(tracks):
        if packet.stream.index == picture.index:
            yield from _decoded(cast("Packet[VideoStream]", packet))
        elif sound is not None and packet.dts is not None:
            packet.stream = sound
            sink.mux(packet)


def _upscaled(
    frame: VideoFrame, first: VideoFrame, contract: IoContract, run: Callable[[Tensor], Tensor]
) -> VideoFrame:
    if (frame.width, frame.height) != (first.width, first.height):
        raise UserError(
            f"the frame size changes from {first.width} x {first.height} to "
            f"{frame.width} x {frame.height} within the video",
            hint="cut it into videos of one size",
        )
    rgb = cast(Image, frame.to_ndarray(format="rgb24", interpolation=EXACT))
    large = VideoFrame.from_ndarray(even_sides(upscale_rgb(rgb, contract, run)), format="rgb24")
    # Without colour space and range the way back to YUV would take another matrix.
    return large.reformat(
        format="yuv420p",
        dst_colorspace=first.colorspace,
        dst_color_range=first.color_range,
        interpolation=EXACT,
    )
