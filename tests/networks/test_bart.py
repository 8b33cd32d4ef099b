"""BART: what the parity of whole models does not show."""

from __future__ import annotations

import torch

from seesay.networks.bart import Bart, BartConfig


def test_what_overflows_in_half_precision_is_the_most_that_can_be_held() -> None:
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=9, max_length=5, width=8, encoder_depth=1, decoder_depth=1, num_heads=2,
        mlp_width=12,
    )  # fmt: skip
    module = Bart(config).eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        module.encoder.layers[0].mlp_norm.weight.fill_(60_000)
        wanted = module.encode(x)
        found = module.half().encode(x.half())
    most = torch.finfo(torch.float16).max - 1000
    over = wanted.abs() > 1.01 * torch.finfo(torch.float16).max
    assert bool(over.any())
    assert bool((found[over].abs() == most).all())
    assert bool((found[over].sign() == wanted[over].sign()).all())
