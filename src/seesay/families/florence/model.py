"""Florence's dual encoder: a Swin image tower and a causal text tower, trained with labels too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.families.florence.configs import FlorenceConfig
from seesay.networks.causaltext import CausalText
from seesay.networks.swin import Swin


class Florence(nn.Module):
    """Unified contrastive learning of pictures, texts and labels.

    Paper: arXiv 2111.11432, sections 2.2 and 2.3; arXiv 2204.03610 for the objective and sizes.
    Reference: microsoft/UniCL, model/model.py, UniCLModel.
    Differs: pictures of any size, texts of any length up to the number of positions; a text is
        pooled at its first end token (see `CausalText`). A fresh text tower is drawn as GPT-2's.
    Shapes: pixels [B, 3, h, w] and ids [B, L] -> unit vectors [B, E].
    """

    def __init__(self, config: FlorenceConfig) -> None:
        super().__init__()
        self.config = config
        self.image = Swin(config.image)
        self.image_projection = nn.Linear(config.image.out_width, config.embed_width, bias=False)
        self.text = CausalText(config.text)
        self.text_projection = nn.Linear(config.text.width, config.embed_width, bias=False)
        for projection in (self.image_projection, self.text_projection):
            nn.init.trunc_normal_(projection.weight, std=0.02)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return token features [B, P, D] of the last map, row by row."""
        return self.image(pixels).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return token features [B, L, D] of ids [B, L]; `mask` is True from start to end token."""
        return self.text(ids, mask)  # type: ignore[no-any-return]

    def pool_image(self, pixels: Tensor) -> Tensor:
        """Return the mean [B, D] of each picture's last map, before the projection."""
        return self.image(pixels).mean((2, 3))  # type: ignore[no-any-return]

    def project_image(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E] of pooled features [B, D]."""
        return F.normalize(self.image_projection(pooled), dim=-1)

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
        """Return what the last map [B, D, rows, columns] is read from; its mean is the picture."""
        return self.image.channels_first
