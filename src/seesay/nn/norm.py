"""Normalisation layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """Layer normalisation with statistics in fp32, whatever the precision of its input.

    torch's kernel already accumulates in fp32 when input and weight share a precision; that for
    processors does so too with weights in fp32 and an input in half precision. Elsewhere, where
    they differ (under autocast), the computation is done in fp32 and the result returned in the
    precision of the input.

    Paper: arXiv 1607.06450.  Reference: openai/CLIP, clip/model.py, LayerNorm.
    Differs: nothing known.
    Shapes: [..., D] -> [..., D].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        if x.dtype == self.weight.dtype or _mixes(x, self.weight):
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


def _mixes(x: Tensor, weight: Tensor) -> bool:
    """Whether torch's kernel takes this input with these weights as they are."""
    half = x.dtype in (torch.bfloat16, torch.float16)
    return half and x.device.type == "cpu" and weight.dtype == torch.float32
