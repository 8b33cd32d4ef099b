"""CLIP: an image tower and a causal text tower that meet in one space."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.families.clip.configs import ClipConfig, TextConfig
from seesay.networks.resnet import ResNet
from seesay.networks.vit import ViT, VitConfig
from seesay.nn.blocks import PreNormBlock, initialise
from seesay.nn.masks import causal, padding
from seesay.nn.norm import LayerNorm


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
        self.text = TextEncoder(config.text)
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
        tokens = self.encode_text(ids, mask)
        rows = torch.arange(len(ids), device=ids.device)
        return tokens[rows, self.text.end_of(ids)]

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


class TextEncoder(nn.Module):
    """A causal transformer over token ids.

    Paper: arXiv 2103.00020, section 2.4; architecture of GPT-2.
    Reference: openai/CLIP, clip/model.py, CLIP.encode_text.
    Differs: nothing known.
    Shapes: ids [B, L] -> [B, L, D].
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.position_embedding = nn.Parameter(torch.empty(config.max_length, width))
        self.blocks = nn.ModuleList(
            PreNormBlock(width, config.num_heads, config.mlp_width, config.activation, config.eps)
            for _ in range(config.depth)
        )
        self.final_norm = LayerNorm(width, eps=config.eps)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.01)
        initialise(list(self.blocks))  # type: ignore[arg-type]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the normalised features of every token.

        Raises:
            ValueError: There are more tokens than positions.
        """
        length = ids.shape[1]
        if length > self.config.max_length:
            raise ValueError(f"{length} tokens, but there are {self.config.max_length} positions")
        x = self.token_embedding(ids) + self.position_embedding[:length]  # [B, L, D]
        allowed = causal(length, ids.device) & padding(mask)  # [B, 1, L, L]
        for block in self.blocks:
            x = block(x, allowed)
        return self.final_norm(x)  # type: ignore[no-any-return]

    def end_of(self, ids: Tensor) -> Tensor:
        """Return the position [B] whose features stand for the text: that of the first end token.

        Checkpoints that do not say which id ends a text are pooled at the highest id.
        """
        if self.config.end_id is None:
            return ids.argmax(-1)
        return (ids == self.config.end_id).int().argmax(-1)
