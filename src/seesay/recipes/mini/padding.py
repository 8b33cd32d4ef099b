"""Which padding the trunk was trained with, asked of its own batch normalisations.

`python -m seesay.recipes.mini.padding --work DIR --photos FOLDER`

Each normalisation recorded the mean and variance of its input over the training photographs. The
padding that was used in training reproduces these on other photographs better than one that was
not, layer after layer, because a shifted grid and another border change both. The measure is the
mean over channels of |measured mean - recorded mean| / recorded deviation, and the same for the
logarithm of the deviation; pictures are drawn again with replacement to see how sure the order is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from seesay.networks.efficientnet import NORM_EPS, EfficientNet, EfficientNetConfig
from seesay.recipes.mini.embed import published_trunk, to_pixels

Moments = dict[str, tuple[Tensor, Tensor]]


def moments(trunk: EfficientNet, pixels: Tensor) -> Moments:
    """Return each picture's mean and mean square [N, D] of the input of every normalisation."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def watch(name: str) -> object:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0]
            found.setdefault(name, []).append((x.mean((2, 3)), x.square().mean((2, 3))))

        return hook

    handles = [
        module.register_forward_pre_hook(watch(name))  # type: ignore[arg-type]
        for name, module in trunk.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.inference_mode():
        for start in range(0, len(pixels), 16):
            trunk(pixels[start : start + 16])
    for handle in handles:
        handle.remove()
    return {
        name: (torch.cat([m for m, _ in parts]), torch.cat([s for _, s in parts]))
        for name, parts in found.items()
    }


def disagreement(found: Moments, trunk: EfficientNet, rows: Tensor) -> dict[str, float]:
    """Return, for each normalisation, how far the pictures `rows` are from what it recorded."""
    distances = {}
    for name, (mean, square) in found.items():
        norm = trunk.get_submodule(name)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        deviation = (norm.running_var + NORM_EPS).sqrt()
        measured = mean[rows].mean(0)
        variance = square[rows].mean(0) - measured.square()
        shift = ((measured - norm.running_mean).abs() / deviation).mean()
        swell = ((variance.clamp(min=0) + NORM_EPS).sqrt() / deviation).log().abs().mean()
        distances[name] = float(shift + swell)
    return distances


def compare(packages: Path, photos: Path, resamples: int = 200) -> dict[str, float]:
    """Return both disagreements, the share of layers and of resamples that prefer "same"."""
    paths = sorted(p for p in photos.iterdir() if p.suffix in (".jpg", ".png"))
    opened = [ImageOps.exif_transpose(Image.open(p)).convert("RGB") for p in paths]
    pixels = to_pixels([p.resize((224, 224), Image.Resampling.BICUBIC) for p in opened])
    state = published_trunk(packages)
    trunks, found = {}, {}
    for padding in ("same", "symmetric"):
        trunk = EfficientNet(EfficientNetConfig(padding=padding))
        trunk.load_state_dict(state)
        trunks[padding] = trunk.eval()
        found[padding] = moments(trunk, pixels)
    everything = torch.arange(len(pixels))
    all_of = {p: disagreement(found[p], trunks[p], everything) for p in trunks}
    names = list(all_of["same"])
    better = sum(all_of["same"][n] < all_of["symmetric"][n] for n in names) / len(names)
    generator = torch.Generator().manual_seed(0)
    wins = 0
    for _ in range(resamples):
        rows = torch.randint(len(pixels), (len(pixels),), generator=generator)
        same, symmetric = (
            sum(disagreement(found[p], trunks[p], rows).values()) for p in ("same", "symmetric")
        )
        wins += same < symmetric
    return {
        "photos": len(pixels),
        "same": sum(all_of["same"].values()) / len(names),
        "symmetric": sum(all_of["symmetric"].values()) / len(names),
        "layers that prefer same": better,
        "resamples that prefer same": wins / resamples,
    }


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    told = parser.parse_args()
    for name, value in compare(told.work / "packages", told.photos).items():
        print(f"{name:28} {value:.4f}")


if __name__ == "__main__":
    main()
