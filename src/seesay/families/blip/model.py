"""BLIP: a vision transformer and a BERT that reads, looks and writes, in the parts each use needs.

One class for each kind of checkpoint; all are made of the same two networks.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.families.blip.configs import BlipConfig
from seesay.networks.bert import Bert, LanguageHead, initialise
from seesay.networks.vit import ViT
from seesay.nn.cache import Cache
from seesay.types import Prompt


class BlipRetrieval(nn.Module):
    """Images and texts as vectors (ITC), and a judge of pairs that looks at both (ITM).

    Paper: arXiv 2201.12086, section 3.2.
    Reference: salesforce/BLIP, models/blip_retrieval.py and blip_itm.py.
    Differs: the temperature is kept as the logarithm of its inverse, `logit_scale`.
    Shapes: pixels [B, 3, h, w], ids [B, L] -> unit vectors [B, E]; pairs -> logits [B, 2].
    """

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ViT(config.image)
        self.text = Bert(config.text)
        self.image_projection = nn.Linear(config.image.width, config.embed_width)
        self.text_projection = nn.Linear(config.text.width, config.embed_width)
        self.itm_head = nn.Linear(config.text.width, 2)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        for head in (self.image_projection, self.text_projection, self.itm_head):
            initialise(head)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return image tokens [B, P, D], the class token first."""
        return self.image(pixels)  # type: ignore[no-any-return]

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return features [B, L, D] of a text on its own."""
        return self.text(ids, mask)  # type: ignore[no-any-return]

    def fuse(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return features [B * n, L, D] of texts that look at image tokens [B, P, D]."""
        return self.text(ids, mask, tokens)  # type: ignore[no-any-return]

    def pool_image(self, pixels: Tensor) -> Tensor:
        """Return the class token [B, D]."""
        return self.image.class_token(pixels)

    def pool_tokens(self, tokens: Tensor) -> Tensor:
        """Return the class token [B, D] of image tokens [B, P, D]."""
        return tokens[:, 0]

    def project_image(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E]."""
        return F.normalize(self.image_projection(pooled), dim=-1)

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors [B, E]."""
        return self.project_image(self.pool_image(pixels))

    def pool_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the features [B, D] of the first token."""
        return self.encode_text(ids, mask)[:, 0]

    def project_text(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E]."""
        return F.normalize(self.text_projection(pooled), dim=-1)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors [B, E] of ids [B, L]; `mask` is True where a token counts."""
        return self.project_text(self.pool_text(ids, mask))

    def match(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B * n, 2], no match and match, of texts about image tokens [B, P, D]."""
        return self.itm_head(self.fuse(tokens, ids, mask)[:, 0])  # type: ignore[no-any-return]

    def relevance_layer(self) -> nn.Module:
        """Return the last block but one, whose tokens [B, 1 + P, D] the last pools."""
        return self.image.blocks[-2]

    def attention_layers(self) -> list[nn.Module]:
        """Return the layers in which texts look at images."""
        return [layer.cross_attention for layer in self.text.layers]  # type: ignore[misc]


class BlipCaptioning(nn.Module):
    """Writes about an image.

    Paper: arXiv 2201.12086, sections 3.1 and 3.2 (the image-grounded text decoder).
    Reference: salesforce/BLIP, models/blip.py, BLIP_Decoder.
    Differs: nothing known.
    Shapes: `protocols.Generator`; pixels [B, 3, h, w] or tokens [B, P, D], a prefix [B, L].
    """

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ViT(config.image)
        self.text = Bert(config.text)
        self.lm_head = LanguageHead(self.text)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return image tokens [B, P, D], the class token first."""
        return self.image(pixels)  # type: ignore[no-any-return]

    def forward(self, batch: Prompt) -> Tensor:
        """Return logits [B * n, L, V] of what follows each position of the prefix."""
        return teach(self.text, self.lm_head, batch, looked_at(self.image, batch))

    def prefill(self, batch: Prompt) -> tuple[Tensor, Cache]:
        """Return logits [B, V] of the token after each prefix, and the state."""
        return begin(self.text, self.lm_head, batch, looked_at(self.image, batch))

    def step(self, ids: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """Append ids [B * K]; return logits [B * K, V] of the next ones."""
        return extend(self.text, self.lm_head, ids, state)


class BlipVqa(nn.Module):
    """Reads a question looking at an image, and writes the answer looking at what it read.

    Paper: arXiv 2201.12086, section 5.3 and figure 5.
    Reference: salesforce/BLIP, models/blip_vqa.py.
    Differs: padding of a question is never seen, in generation too.
    Shapes: `protocols.Generator`; pixels or tokens, a question [B, S], a prefix [B, L].
    """

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ViT(config.image)
        self.encoder = Bert(config.text)
        self.decoder = Bert(replace(config.text, source_width=config.text.width))
        self.lm_head = LanguageHead(self.decoder)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return image tokens [B, P, D], the class token first."""
        return self.image(pixels)  # type: ignore[no-any-return]

    def read(self, batch: Prompt) -> Tensor:
        """Return the features [B, S, D] of the questions; several may be about one image."""
        if batch.read is not None:
            return batch.read
        return self.encoder(batch.ids, batch.mask, looked_at(self.image, batch))  # type: ignore[no-any-return]

    def forward(self, batch: Prompt) -> Tensor:
        """Return logits [B * n, L, V] of what follows each position of the prefix."""
        return teach(self.decoder, self.lm_head, batch, self.read(batch), _seen(batch))

    def prefill(self, batch: Prompt) -> tuple[Tensor, Cache]:
        """Return logits [B, V] of the token after each prefix, and the state."""
        return begin(self.decoder, self.lm_head, batch, self.read(batch), _seen(batch))

    def step(self, ids: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """Append ids [B * K]; return logits [B * K, V] of the next ones."""
        return extend(self.decoder, self.lm_head, ids, state)


class BlipPretraining(nn.Module):
    """Everything at once, as pre-trained: vectors, a judge of pairs, and a writer.

    Encoder and decoder share all but their self-attention (`BertConfig.two_way`).

    Paper: arXiv 2201.12086, section 3.2.
    Reference: salesforce/BLIP, models/blip_pretrain.py.
    Differs: momentum encoders and queue are `train.momentum`'s. The temperature is kept as the
        logarithm of its inverse.
    Shapes: those of `BlipRetrieval` and of `BlipCaptioning`.
    """

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ViT(config.image)
        self.text = Bert(config.text)
        self.image_projection = nn.Linear(config.image.width, config.embed_width)
        self.text_projection = nn.Linear(config.text.width, config.embed_width)
        self.itm_head = nn.Linear(config.text.width, 2)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        for head in (self.image_projection, self.text_projection, self.itm_head):
            initialise(head)
        self.lm_head = LanguageHead(self.text)

    # its parts are those of the two above, and so is what it does with them
    encode_image = BlipRetrieval.encode_image
    encode_text = BlipRetrieval.encode_text
    fuse = BlipRetrieval.fuse
    pool_image = BlipRetrieval.pool_image
    pool_tokens = BlipRetrieval.pool_tokens
    project_image = BlipRetrieval.project_image
    embed_image = BlipRetrieval.embed_image
    pool_text = BlipRetrieval.pool_text
    project_text = BlipRetrieval.project_text
    embed_text = BlipRetrieval.embed_text
    match = BlipRetrieval.match
    relevance_layer = BlipRetrieval.relevance_layer
    attention_layers = BlipRetrieval.attention_layers
    forward = BlipCaptioning.forward
    prefill = BlipCaptioning.prefill
    step = BlipCaptioning.step


class BlipNlvr(nn.Module):
    """Says whether a statement about two images is true.

    Paper: arXiv 2201.12086, section 5.4 and figure 5.
    Reference: salesforce/BLIP, models/blip_nlvr.py.
    Differs: nothing known.
    Shapes: two pixels [B, 3, h, w] and a statement [B, L] -> logits [B, 2]: false, true.
    """

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ViT(config.image)
        self.text = Bert(config.text)
        self.head = classifier(config)

    def compare(self, first: Tensor, second: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, 2], false and true."""
        tokens = self.image(torch.cat([first, second]))  # [2 * B, P, D]
        pairs = torch.stack(tokens.chunk(2), 1)  # [B, 2, P, D]
        return self.head(self.text(ids, mask, pairs)[:, 0])  # type: ignore[no-any-return]


class BlipClassification(nn.Module):
    """Says which of some fixed answers holds of an image and a text, such as entailment.

    Paper: arXiv 2107.07651, section 5 (visual entailment), whose head BLIP's library kept.
    Reference: salesforce/LAVIS, models/blip_models/blip_classification.py.
    Differs: momentum distillation is not part of the module.
    Shapes: pixels [B, 3, h, w] and a text [B, L] -> logits [B, C].
    """

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ViT(config.image)
        self.text = Bert(config.text)
        self.head = classifier(config)

    def classify_pair(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, C]."""
        return self.head(self.text(ids, mask, self.image(pixels))[:, 0])  # type: ignore[no-any-return]


def classifier(config: BlipConfig) -> nn.Sequential:
    """Return the two layers between the first token and the answers."""
    width = config.text.width
    head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.num_classes))
    return head.apply(initialise)


# -- writing ---------------------------------------------------------------------------------------


def looked_at(image: ViT, batch: Prompt) -> Tensor:
    """Return the image tokens [B, P, D] of a prompt."""
    if batch.tokens is not None:
        return batch.tokens
    return image(batch.pixels)  # type: ignore[no-any-return]


def teach(
    text: Bert, head: nn.Module, batch: Prompt, source: Tensor, seen: Tensor | None = None
) -> Tensor:
    """Return logits of what follows each position of the prefix, which looks at a source."""
    hidden = text(batch.prefix, batch.prefix_mask, source, seen, causal=True)
    return head(hidden)  # type: ignore[no-any-return]


def begin(
    text: Bert, head: nn.Module, batch: Prompt, source: Tensor, seen: Tensor | None = None
) -> tuple[Tensor, Cache]:
    """Return logits of the token after each prefix, and what is remembered of it."""
    last, cache = text.begin(batch.prefix, batch.prefix_mask, source, seen)
    return head(last), cache


def extend(text: Bert, head: nn.Module, ids: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
    """Append one id to each beam [B * K]; return the logits after it."""
    hidden = text.extend(ids.view(len(cache.visible), -1), cache)  # [B, K, D]
    return head(hidden).flatten(0, 1), cache


def _seen(batch: Prompt) -> Tensor | None:
    return batch.mask if batch.seen is None else batch.seen


MODULES: dict[str, type[nn.Module]] = {
    "pretraining": BlipPretraining,
    "retrieval": BlipRetrieval,
    "captioning": BlipCaptioning,
    "vqa": BlipVqa,
    "nlvr": BlipNlvr,
    "classification": BlipClassification,
}


def module_class(config: BlipConfig) -> type[nn.Module]:
    """Return the class of the module of a configuration."""
    return MODULES[config.kind]
