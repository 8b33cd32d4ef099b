"""EfficientNet against an independent reading of the paper, and its padding rule."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.networks.efficientnet import (
    EfficientNet,
    EfficientNetConfig,
    _pad_same,
    fold_batch_norm,
    from_reference,
)

SMALL = EfficientNetConfig(width=0.25, depth=0.5, stem_width=8, head_width=40, num_classes=5)


def drawn(config: EfficientNetConfig, seed: int = 0) -> EfficientNet:
    """A network with every tensor at random, running statistics included."""
    torch.manual_seed(seed)
    net = EfficientNet(config).eval()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif ".norm." in name and tensor.is_floating_point():
                tensor.uniform_(-0.5, 1.5)
    return net


def slow(state: dict[str, Tensor], config: EfficientNetConfig, x: Tensor) -> Tensor:
    """The head's features by nothing but functional calls on the state dict."""

    def unit(x: Tensor, at: str, stride: int = 1, groups: int = 1, active: bool = True) -> Tensor:
        weight = state[f"{at}.conv.weight"]
        kernel = weight.shape[-1]
        size = x.shape[-1]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before = total // 2
        x = F.pad(x, (before, total - before, before, total - before))
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        norm = [state[f"{at}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *norm, eps=1e-3)
        return x.clamp(0, 6) if active else x

    x = unit(x, "stem", 2)
    for s, (repeats, _, stride, expansion, width) in enumerate(config.stages()):
        for r in range(repeats):
            at, shortcut = f"stages.{s}.{r}", x
            y = unit(x, f"{at}.expand") if expansion > 1 else x
            y = unit(y, f"{at}.depthwise", stride if r == 0 else 1, groups=y.shape[1])
            y = unit(y, f"{at}.project", active=False)
            x = y + shortcut if y.shape == shortcut.shape else y
            assert x.shape[1] == width
    return unit(x, "head")


@pytest.mark.parametrize("size", [64, 75])
def test_features_are_those_of_the_paper_written_out(size: int) -> None:
    net = drawn(SMALL).double()
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.inference_mode():
        expected = slow(net.state_dict(), SMALL, x)
        assert expected.shape == (2, 40, -(-size // 32), -(-size // 32))
        torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-9)


def test_folding_the_normalisation_changes_nothing() -> None:
    net = drawn(SMALL)
    folded = EfficientNet(
        EfficientNetConfig(
            width=0.25, depth=0.5, stem_width=8, head_width=40, num_classes=5, batch_norm=False
        )
    )
    folded.load_state_dict(fold_batch_norm(net.state_dict()))
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        exact = net(x)
        assert float((folded.eval()(x) - exact).norm() / exact.norm()) < 1e-4
        pooled = net(x).mean((2, 3))
        torch.testing.assert_close(folded.logits(pooled), net.logits(pooled))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [(224, 3, 2, 0, 1), (112, 5, 2, 1, 2), (7, 3, 2, 1, 1), (15, 5, 2, 2, 2), (8, 3, 1, 1, 1)],
)
def test_same_padding_puts_the_odd_row_below_and_right(
    size: int, kernel: int, stride: int, before: int, after: int
) -> None:
    padded = _pad_same(torch.ones(1, 1, size, size), kernel, stride)
    assert padded.shape[-1] == size + before + after
    filled = padded[0, 0].any(0).nonzero().flatten()
    assert (int(filled[0]), int(filled[-1])) == (before, before + size - 1)


def test_the_two_paddings_differ_and_neither_raises() -> None:
    net = drawn(SMALL)
    other = EfficientNet(
        EfficientNetConfig(
            width=0.25, depth=0.5, stem_width=8, head_width=40, num_classes=5, padding="symmetric"
        )
    ).eval()
    other.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert net(x).shape == other(x).shape
        assert not torch.allclose(net(x), other(x), atol=1e-3)


@pytest.mark.parametrize(
    ("width", "depth", "tensors", "parameters"), [(1.0, 1.0, 296, 4_652_008), (1.1, 1.2, 386, None)]
)
def test_released_sizes_have_the_published_tensors(
    width: float, depth: float, tensors: int, parameters: int | None
) -> None:
    with torch.device("meta"):
        net = EfficientNet(EfficientNetConfig(width=width, depth=depth))
    assert len(net.state_dict()) == tensors
    if parameters is not None:
        assert sum(p.numel() for p in net.parameters()) == parameters


def test_a_foreign_state_dict_is_refused() -> None:
    state = dict(drawn(SMALL).state_dict())
    assert from_reference(state, SMALL).keys() == state.keys()
    first = next(iter(state))
    with pytest.raises(ValueError, match="tensors given"):
        from_reference({k: v for k, v in state.items() if k != first}, SMALL)
    with pytest.raises(ValueError, match=r"stem\.conv\.weight"):
        from_reference({**state, first: torch.ones(2, 2)}, SMALL)
