"""CLIP: an image tower and a causal text tower that meet in one space."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.families.clip.configs import ClipConfig
from seesay.networks.causaltext import CausalText
from seesay.networks.resnet import ResNet
from seesay.networks.vit import ViT, VitConfig


class Clip(nn.Module):
    """Contrastive language-image pre-training.

    Paper: arXiv 2103.00020, section 2.3 and figure 3.
    Reference: openai/CLIP, clip/model.py, CLIP; mlfoundations/open_clip, src/open_clip/model.py.
    Differs: the text is pooled at its first end token, not at its highest id; the two agree
        unless ids were added to the vocabulary.
    Shapes: pixels [B, 3, h, w] and ids [B, L] -> unit vectors [B, E].
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.image: ViT | ResNet
        if isinstance(config.image, VitConfig):
            width = config.image.width
            self.image = ViT(config.image)
            self.image_projection = nn.Linear(width, config.embed_width, bias=False)
            nn.init.normal_(self.image_projection.weight, std=width**-0.5)
        else:
            self.image = ResNet(config.image, config.embed_width)
        self.text = CausalText(config.text)
        self.text_projection = nn.Linear(config.text.width, config.embed_width, bias=False)
        nn.init.normal_(self.text_projection.weight, std=config.text.width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return token features: [B, 1 + P, D] of a ViT, [B, P, D] of a ResNet."""
        if isinstance(self.image, ViT):
            return self.image(pixels)  # type: ignore[no-any-return]
        return self.image.features(pixels).flatten(2).transpose(1, 2)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return token features [B, L, D] of ids [B, L]; `mask` is True from start to end token."""
        return self.text(ids, mask)  # type: ignore[no-any-return]

    def pool_image(self, pixels: Tensor) -> Tensor:
        """Return what the image tower makes of each picture [B, D], before the projection."""
        if isinstance(self.image, ViT):
            return self.image.class_token(pixels)
        return self.image(pixels)  # type: ignore[no-any-return]

    def project_image(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E] of pooled features [B, D].

        A ResNet projects inside its attention pooling: its features are normalised only.
        """
        if isinstance(self.image, ViT):
            pooled = self.image_projection(pooled)
        return F.normalize(pooled, dim=-1)

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors [B, E]."""
        return self.project_image(self.pool_image(pixels))

    def pool_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the features [B, D] of each text's end token, before the projection."""
        return self.text.pool(ids, mask)

    def project_text(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E] of pooled features [B, D]."""
        return F.normalize(self.text_projection(pooled), dim=-1)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors [B, E] of ids [B, L]; `mask` is True from start to end token."""
        return self.project_text(self.pool_text(ids, mask))

    def relevance_layer(self) -> nn.Module:
        """Return the last module whose spatial output the embedding still depends on.

        Of a ViT that is what the last block reads: the embedding looks at the class token alone,
        so patch tokens after the last block have no influence on it.
        """
        if isinstance(self.image, ViT):
            blocks = self.image.blocks
            return blocks[-2] if len(blocks) > 1 else self.image.pre_norm
        return self.image.stages[-1]
