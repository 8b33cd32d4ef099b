"""Transformer blocks: attention and a feed-forward network around a residual stream."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from seesay.nn.attention import MultiHeadAttention, as_autocast
from seesay.nn.mlp import Mlp
from seesay.nn.norm import LayerNorm


class PreNormBlock(nn.Module):
    """Attention and feed-forward, each normalised before and added after.

    Paper: arXiv 2002.04745, figure 1 (b).
    Reference: openai/CLIP, clip/model.py, ResidualAttentionBlock.
    Differs: nothing known.
    Shapes: [B, L, D] -> [B, L, D].

    Args:
        width: D.
        num_heads: H.
        mlp_width: Width inside the feed-forward network.
        activation: A name in `seesay.nn.mlp.ACTIVATIONS`.
        eps: Added to the variance in both norms.
    """

    def __init__(
        self, width: int, num_heads: int, mlp_width: int, activation: str, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(width, eps=eps)
        self.attention = MultiHeadAttention(width, num_heads)
        self.mlp_norm = LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, mlp_width, activation)

    def forward(self, x: Tensor, mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Transform the residual stream.

        Args:
            x: [B, L, D].
            mask: Boolean, broadcastable to [B, H, L, L].
            queries: Transform and return only so many tokens from the first on; they attend to all.
        """
        tokens = as_autocast(self.attention_norm(x))
        x = x[:, :queries] + self.attention(tokens[:, :queries], mask, source=tokens)
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


def initialise(blocks: Sequence[PreNormBlock]) -> None:
    """Draw the weights of a stack of blocks so that its depth does not swell the stream.

    What is added to the stream is scaled down by sqrt(2 * depth), as in GPT-2.
    """
    for block in blocks:
        width = block.attention.q_proj.in_features
        inner, added = width**-0.5, (2 * len(blocks) * width) ** -0.5
        heads = block.attention
        for layer in (heads.q_proj, heads.k_proj, heads.v_proj):
            nn.init.normal_(layer.weight, std=inner)
        nn.init.normal_(heads.out_proj.weight, std=added)
        nn.init.normal_(block.mlp.fc1.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(block.mlp.fc2.weight, std=added)
        for layer in (heads.q_proj, heads.k_proj, heads.v_proj, heads.out_proj):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(block.mlp.fc1.bias)
        nn.init.zeros_(block.mlp.fc2.bias)
