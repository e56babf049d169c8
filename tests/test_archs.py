"""Laws of the architectures: built, known by their tensors alone, collapsed without a change."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolkit import plugins
from toolkit.model.state_names import shapes_of

NAMES = plugins.names("archs")
SMALL = {
    "compact": {"features": 12, "layers": 3},
    "edsr": {"features": 12, "blocks": 2},
    "sesr": {"features": 8, "blocks": 2, "wide": 24},
}


def built(name, scale=2, **hyper):
    torch.manual_seed(0)
    return plugins.load("archs", name).build(scale=scale, **{**SMALL.get(name, {}), **hyper}).eval()


def channels_of(module):
    return next(p for p in module.parameters() if p.dim() == 4).shape[1]


def output(module, picture):
    with torch.no_grad():
        return module(picture)


def picture_for(module, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels_of(module), 9, 14, generator=generator)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_scale_times_as_large(name, scale):
    module = built(name, scale)
    assert output(module, picture_for(module)).shape[2:] == (9 * scale, 14 * scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_tensors_tell_the_architecture_and_only_that(name, scale):
    shapes = shapes_of(built(name, scale))
    found = {n: plugins.load("archs", n).detect(shapes) for n in NAMES}
    assert [n for n, hyper in found.items() if hyper is not None] == [name]
    assert found[name].get("scale", scale) == scale
    again = plugins.load("archs", name).build(**{"scale": scale, **found[name]})
    assert shapes_of(again) == shapes


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_too_many_or_too_few_is_not_explained(name):
    detect, shapes = plugins.load("archs", name).detect, shapes_of(built(name))
    assert detect({**shapes, "extra.weight": (4,)}) is None
    for missing in shapes:
        assert detect({n: s for n, s in shapes.items() if n != missing}) is None
    assert detect({}) is None


@pytest.mark.parametrize("name", NAMES)
def test_collapse_changes_no_pixel(name):
    module = built(name, **({"residual_scale": 0.3} if name == "edsr" else {}))
    collapsed = plugins.load("archs", name).collapse(module).eval()
    picture = picture_for(module)
    assert (output(collapsed, picture) - output(module, picture)).abs().max() < 1e-5
    assert sum(p.numel() for p in collapsed.parameters()) <= sum(
        p.numel() for p in module.parameters()
    )


def test_a_collapsed_sesr_is_recognised_as_one():
    sesr = plugins.load("archs", "sesr")
    plain = sesr.collapse(built("sesr"))
    hyper = sesr.detect(shapes_of(plain))
    assert hyper is not None and hyper["collapsed"]
    again = sesr.build(**hyper)
    again.load_state_dict(plain.state_dict())
    picture = picture_for(plain)
    assert torch.equal(output(again, picture), output(plain, picture))


@pytest.mark.parametrize(
    ("name", "hyper", "weights"),
    [
        ("fsrcnn", {}, 12_464),  # Dong et al. 2016, table 1: FSRCNN (56, 12, 4)
        ("sesr", {"features": 16, "blocks": 5, "collapsed": True}, 13_520),  # SESR-M5, x2
        ("espcn", {"scale": 3}, 22_624),  # 25*64 + 9*64*32 + 9*32*9
        ("edsr", {"features": 64, "blocks": 16}, 1_367_424),  # baseline x2, without biases
    ],
)
def test_sizes_are_the_papers(name, hyper, weights):
    module = built(name, **{"scale": 2, **hyper})
    assert sum(p.numel() for p in module.parameters() if p.dim() == 4) == weights


@pytest.mark.parametrize("name", ["abpn", "compact", "sesr"])
def test_without_weights_the_skip_is_nearest_upsampling(name):
    module = built(name, 3)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    picture = picture_for(module)
    if name == "sesr":  # a linear block without weights is still the identity in the body
        picture = picture.clamp(min=0)
    assert torch.allclose(output(module, picture), F.interpolate(picture, scale_factor=3.0))


class PublishedEspcn(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1)]
        self.first_part = nn.Sequential(*layers, nn.Tanh())
        self.last_part = nn.Sequential(nn.Conv2d(32, 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x):
        return self.last_part(self.first_part(x))


class PublishedFsrcnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature_extraction = nn.Sequential(nn.Conv2d(1, 56, 5, padding=2), nn.PReLU(56))
        self.shrink = nn.Sequential(nn.Conv2d(56, 12, 1), nn.PReLU(12))
        layers = []
        for _ in range(4):
            layers += [nn.Conv2d(12, 12, 3, padding=1), nn.PReLU(12)]
        self.map = nn.Sequential(*layers)
        self.expand = nn.Sequential(nn.Conv2d(12, 56, 1), nn.PReLU(56))
        self.deconv = nn.ConvTranspose2d(56, 1, 9, 2, 4, output_padding=1)

    def forward(self, x):
        return self.deconv(self.expand(self.map(self.shrink(self.feature_extraction(x)))))


class PublishedBlock(nn.Module):
    def __init__(self):
        super().__init__()
        conv = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)]
        self.body = nn.Sequential(conv[0], nn.ReLU(), conv[1])

    def forward(self, x):
        return x + self.body(x)


class PublishedEdsr(nn.Module):
    """The authors' layout at x4: 0 to 255 in and out, mean shifts as convolutions."""

    def __init__(self):
        super().__init__()
        self.sub_mean, self.add_mean = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        for sign, shift in ((-1, self.sub_mean), (1, self.add_mean)):
            shift.weight.data = torch.eye(3)[:, :, None, None]
            shift.bias.data = sign * 255 * torch.tensor([0.4488, 0.4371, 0.4040])
        self.head = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))
        blocks = [PublishedBlock(), PublishedBlock(), nn.Conv2d(8, 8, 3, padding=1)]
        self.body = nn.Sequential(*blocks)
        up = [nn.Conv2d(8, 32, 3, padding=1), nn.PixelShuffle(2)]
        up += [nn.Conv2d(8, 32, 3, padding=1), nn.PixelShuffle(2)]
        self.tail = nn.Sequential(nn.Sequential(*up), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, x):
        x = self.head(self.sub_mean(x * 255))
        return self.add_mean(self.tail(self.body(x) + x)) / 255


class PublishedAbpn(nn.Module):
    """A chain whose holders differ from layer to layer, as mobile re-implementations have it."""

    def __init__(self):
        super().__init__()
        blocks = [nn.Sequential(nn.Conv2d(28, 28, 3, padding=1), nn.ReLU()) for _ in range(10)]
        first = [nn.Conv2d(3, 28, 3, padding=1), nn.ReLU()]
        last = [nn.Conv2d(28, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1)]
        self.backbone = nn.Sequential(*first, *blocks, *last)

    def forward(self, x):
        return F.pixel_shuffle(self.backbone(x) + x.repeat_interleave(4, 1), 2)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("espcn", PublishedEspcn),
        ("fsrcnn", PublishedFsrcnn),
        ("edsr", PublishedEdsr),
        ("abpn", PublishedAbpn),
    ],
)
def test_weights_under_published_names_give_the_published_output(name, published):
    torch.manual_seed(3)
    theirs = published().eval()
    arch = plugins.load("archs", name)
    hyper = arch.detect(shapes_of(theirs))
    assert hyper is not None
    ours = arch.build(**{"scale": 2, **hyper})
    ours.load_state_dict(theirs.state_dict())
    picture = picture_for(theirs)
    assert (output(arch.collapse(ours), picture) - output(theirs, picture)).abs().max() < 2e-5


def test_edsr_reads_a_range_of_one_from_its_mean_shift():
    torch.manual_seed(3)
    theirs = PublishedEdsr()
    for shift in (theirs.sub_mean, theirs.add_mean):
        shift.bias.data /= 255
    ours = plugins.load("archs", "edsr").build(scale=4, features=8, blocks=2)
    ours.load_state_dict(theirs.state_dict())
    picture = picture_for(theirs)
    assert (output(ours, picture) - output(theirs, picture / 255) * 255).abs().max() < 1e-5
