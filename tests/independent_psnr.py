"""Mean Y-PSNR of a bundle's file, without the toolkit, and SSIM: BUNDLE_DIR FILE IMAGES_DIR."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def u8(x):
    return np.floor(np.clip(x, 0, 255) + 0.5)


def luma(rgb):
    return 16 + rgb @ np.array([65.481, 128.553, 24.966]) / 255


def shrinking(n, s):  # (n // s, n): bicubic with a = -0.5, antialiased, mirrored at the border
    far = np.abs((np.arange(-3 * s, n + 3 * s) + 0.5) / s - np.arange(n // s)[:, None] - 0.5)
    near, outer = 1.5 * far**3 - 2.5 * far**2 + 1, -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2
    weights = np.where(far < 1, near, np.where(far < 2, outer, 0))
    folded = weights[:, 3 * s : n + 3 * s]
    folded[:, : 3 * s] += weights[:, : 3 * s][:, ::-1]
    folded[:, -3 * s :] += weights[:, -3 * s :][:, ::-1]
    return folded / folded.sum(1, keepdims=True)


def opened(path):
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    if path.suffix == ".xml":
        import openvino

        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda x: model(x)[0]
    from ai_edge_litert.interpreter import Interpreter

    lite = Interpreter(str(path))
    lite.allocate_tensors()
    first, last = lite.get_input_details()[0]["index"], lite.get_output_details()[0]["index"]
    return lambda x: (lite.set_tensor(first, x), lite.invoke(), lite.get_tensor(last))[2]


def network(run, x, c):  # pixel values (h, w, C) to pixel values (h * s, w * s, C)
    read, give, white = c["input"], c["output"], c["image"]["white"]
    x = x / 255 * white
    if read["step"]:
        limits = np.iinfo(read["dtype"])
        x = np.clip(np.floor(x / read["step"] + 0.5) + read["zero_point"], limits.min, limits.max)
    x = x.transpose(2, 0, 1) if read["layout"] == "nchw" else x
    y = run(x[None].astype(read["dtype"], order="C"))[0].astype(float)
    y = y.transpose(1, 2, 0) if give["layout"] == "nchw" else y
    return u8(((y - give["zero_point"]) * give["step"] if give["step"] else y) / white * 255)


def places(n, t, halo, m):  # (start of the tile, first pixel kept of it); later ones overwrite
    if n < t:  # smaller than the tile: at its beginning, then at its end
        return [(0, 0), (n - t, n // 2)] if halo else [(0, 0)]
    starts = [*range(0, n - t, (t - 2 * halo) // m * m), n - t]
    return [(start, start + halo if start else 0) for start in starts]


def upscaled(run, x, c):
    image, (height, width, channels) = c["image"], x.shape
    m, s, halo = image["multiple_of"], image["scale"], image["halo_px"] or 0
    shape = c["input"]["shape"][2:] if c["input"]["layout"] == "nchw" else c["input"]["shape"][1:]
    n, w = (-(-side // m) * m for side in (height, width))
    least = [max(side, image["minimum_px"]) for side in (n, w)]
    t, v = (tile or side for tile, side in zip(shape, least, strict=False))
    x = np.pad(x, ((t, n - height + t), (v, w - width + v), (0, 0)), "edge")
    y = np.zeros((n * s, w * s, channels))
    for top, a in places(n, t, halo, m):
        for left, b in places(w, v, halo, m):
            tile = network(run, x[top + t : top + 2 * t, left + v : left + 2 * v], c)
            end, last = min(top + t, n), min(left + v, w)
            part = tile[(a - top) * s : (end - top) * s, (b - left) * s : (last - left) * s]
            y[a * s : end * s, b * s : last * s] = part
    return y[: height * s, : width * s]


def pair(run, hr, c):  # luma of the original and of the network's picture, border shaved
    s, order = c["image"]["scale"], slice(None, None, -1 if c["image"]["color"] == "bgr" else 1)
    hr = hr[: hr.shape[0] // s * s, : hr.shape[1] // s * s].astype(float)
    lr = u8(np.einsum("hg,gwc->hwc", shrinking(hr.shape[0], s), hr))
    lr = u8(np.einsum("wv,hvc->hwc", shrinking(hr.shape[1], s), lr))
    if c["image"]["color"] == "luma":
        y = upscaled(run, u8(luma(lr))[..., None], c)[..., 0]
    else:
        y = luma(upscaled(run, lr[..., order], c)[..., order])
    return luma(hr)[s:-s, s:-s], y[s:-s, s:-s]


def psnr(run, hr, c):
    a, b = pair(run, hr, c)
    return 10 * np.log10(255**2 / np.mean((a - b) ** 2))


def ssim(run, hr, c):  # by its definition: every window of 11 x 11 on its own, no shared sums
    a, b = pair(run, hr, c)
    bell = np.array([[np.exp(-(i * i + j * j) / 4.5) for i in range(-5, 6)] for j in range(-5, 6)])
    bell /= bell.sum()
    total = 0.0
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            m, n = (bell * p).sum(), (bell * q).sum()
            v, w = (bell * (p - m) ** 2).sum(), (bell * (q - n) ** 2).sum()
            both = (bell * (p - m) * (q - n)).sum()
            total += (
                (2 * m * n + 6.5025)
                * (2 * both + 58.5225)
                / ((m * m + n * n + 6.5025) * (v + w + 58.5225))
            )
    return total / ((a.shape[0] - 10) * (a.shape[1] - 10))


if __name__ == "__main__":
    bundle, name, images = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    contract = next(file["contract"] for file in files if file["name"] == name)
    run = opened(bundle / name)
    paths = sorted(p for p in images.iterdir() if p.suffix in (".png", ".webp", ".jpg"))
    pictures = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    print(f"{np.mean([psnr(run, picture, contract) for picture in pictures]):.6f}")
