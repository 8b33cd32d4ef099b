"""Normalisation layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """Layer normalisation with statistics in fp32, whatever the precision of its input.

    torch's kernel already accumulates in fp32 when input and weight share a precision. Where they
    differ (fp32 norms kept in a half-precision model) the computation is done in fp32 and the
    result returned in the precision of the input.

    Paper: arXiv 1607.06450.  Reference: openai/CLIP, clip/model.py, LayerNorm.
    Differs: nothing known.
    Shapes: [..., D] -> [..., D].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)
