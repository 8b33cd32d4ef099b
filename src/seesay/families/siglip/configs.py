"""SigLIP's configurations: one function per architecture, with the upstream file that states it."""

from __future__ import annotations

from dataclasses import dataclass

from seesay.networks.vit import VitConfig

EPS = 1e-6
BYTES = 262
"""V of the sizes for tests, whose tokens are single bytes (`tokens.byte_tokenizer`)."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The published facts of a text tower.

    Attributes:
        vocab_size: V.
        max_length: Number of positions; every text is padded to it.
        width: D.
        depth: Number of blocks.
        num_heads: H.
        mlp_width: Width inside the feed-forward networks.
        activation: A name in `seesay.nn.mlp.ACTIVATIONS`, the one the weights were trained with.
        eps: Added to the variance in all norms.
        pad_id: The id that texts are padded with. The tower reads it like any other.
    """

    vocab_size: int = 32000
    max_length: int = 64
    width: int
    depth: int
    num_heads: int
    mlp_width: int
    activation: str = "gelu_tanh"
    eps: float = EPS
    pad_id: int = 1


@dataclass(frozen=True, kw_only=True)
class SiglipConfig:
    """Both towers. The space they share is as wide as the image tower.

    Attributes:
        image: The image tower, a vision transformer without a class token.
        text: The text tower.
    """

    image: VitConfig
    text: TextConfig

    @property
    def embed_width(self) -> int:
        """E."""
        return self.image.width


def image_tower(
    patch_size: int,
    image_size: int | tuple[int, int],
    width: int,
    depth: int,
    num_heads: int,
    mlp_width: int,
    *,
    activation: str = "gelu_tanh",
    eps: float = EPS,
    any_size: bool = False,
) -> VitConfig:
    """Return what SigLIP's image towers have in common.

    Args:
        patch_size: Side of a square patch in pixels.
        image_size: Trained side, or height and width, in pixels.
        width: D.
        depth: Number of blocks.
        num_heads: H.
        mlp_width: Width inside the feed-forward networks.
        activation: The one the weights were trained with.
        eps: Added to the variance in all norms.
        any_size: Whether it was trained on pictures of any proportions (NaFlex).
    """
    return VitConfig(
        image_size=(image_size, image_size) if isinstance(image_size, int) else image_size,
        patch_size=patch_size,
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_width=mlp_width,
        activation=activation,
        eps=eps,
        class_token=False,
        resampling="bilinear" if any_size else "bicubic",
    )


def tiny() -> SiglipConfig:
    """The one that tests build: every part of the real thing, thousands of times smaller."""
    return _tiny(any_size=False)


def tiny_any_size() -> SiglipConfig:
    """The smallest one that takes pictures of any proportions, for tests."""
    return _tiny(any_size=True)


def base(
    patch_size: int, image_size: int, vocab_size: int = 32000, any_size: bool = False
) -> SiglipConfig:
    """google/siglip-base-patch16-224, config.json; open_clip model_configs/ViT-B-16-SigLIP.json."""
    image = image_tower(patch_size, image_size, 768, 12, 12, 3072, any_size=any_size)
    return SiglipConfig(image=image, text=_text(768, 12, 12, 3072, vocab_size))


def large(patch_size: int, image_size: int, vocab_size: int = 32000) -> SiglipConfig:
    """google/siglip-large-patch16-256, config.json; open_clip ViT-L-16-SigLIP-256.json."""
    image = image_tower(patch_size, image_size, 1024, 24, 16, 4096)
    return SiglipConfig(image=image, text=_text(1024, 24, 16, 4096, vocab_size))


def so400m(
    patch_size: int,
    image_size: int,
    vocab_size: int = 32000,
    max_length: int = 64,
    any_size: bool = False,
) -> SiglipConfig:
    """google/siglip-so400m-patch14-384, config.json; open_clip ViT-SO400M-14-SigLIP-384.json."""
    image = image_tower(patch_size, image_size, 1152, 27, 16, 4304, any_size=any_size)
    return SiglipConfig(image=image, text=_text(1152, 27, 16, 4304, vocab_size, max_length))


def giant(patch_size: int, image_size: int, vocab_size: int) -> SiglipConfig:
    """google/siglip2-giant-opt-patch16-256, config.json; open_clip ViT-gopt-16-SigLIP2-256.json."""
    image = image_tower(patch_size, image_size, 1536, 40, 16, 6144)
    return SiglipConfig(image=image, text=_text(1152, 27, 16, 4304, vocab_size))


def published_pad(vocab_size: int) -> int:
    """Return what released checkpoints pad with: </s> in T5's vocabularies, <pad> in Gemma's."""
    return 0 if vocab_size in (256000, BYTES) else 1


def _text(
    width: int, depth: int, num_heads: int, mlp_width: int, vocab_size: int, max_length: int = 64
) -> TextConfig:
    return TextConfig(
        vocab_size=vocab_size,
        max_length=max_length,
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_width=mlp_width,
        pad_id=published_pad(vocab_size),
    )


def _tiny(any_size: bool) -> SiglipConfig:
    image = image_tower(8, 32, 40, 2, 5, 72, any_size=any_size)
    return SiglipConfig(image=image, text=_text(24, 2, 3, 56, BYTES, 20))
