"""How Florence-2 is asked: a task token, which stands for a sentence of English."""

from __future__ import annotations

from collections.abc import Mapping

from seesay.errors import UsageError
from seesay.families.florence2.configs import Florence2Config
from seesay.family import Asking
from seesay.generation.options import Options

SENTENCES = {
    "<OCR>": "What is the text in the image?",
    "<OCR_WITH_REGION>": "What is the text in the image, with regions?",
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
    "<OD>": "Locate the objects with category name in the image.",
    "<DENSE_REGION_CAPTION>": "Locate the objects in the image, with their descriptions.",
    "<REGION_PROPOSAL>": "Locate the region proposals in the image.",
    "<CAPTION_TO_PHRASE_GROUNDING>": "Locate the phrases in the caption: {}",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "Locate {} in the image with mask",
    "<REGION_TO_SEGMENTATION>": "What is the polygon mask of region {}",
    "<OPEN_VOCABULARY_DETECTION>": "Locate {} in the image.",
    "<REGION_TO_CATEGORY>": "What is the region {}?",
    "<REGION_TO_DESCRIPTION>": "What does the region {} describe?",
    "<REGION_TO_OCR>": "What text is in the region {}?",
}
"""Task token -> what the model reads; "{}" is what stands behind the token. No token has a row of
its own in the vocabulary. microsoft/Florence-2-base on the hub, processing_florence2.py."""

OPTIONS = Options(
    num_beams=3,
    early_stopping=True,
    no_repeat_ngram_size=3,
    forced_bos_id=0,
    forced_eos_id=2,
    max_new_tokens=1024,
)
"""As released: config.json of microsoft/Florence-2-base, text_config; its card for the length.
That is the number of positions: the card of the large model that has 4096 says 4096."""


def expand(raw: str) -> str:
    """Return what the model reads: a task token at the beginning becomes its sentence.

    Spaces around the input of a token are not read. A text that begins with no known token is read
    as it is: fine-tuned models have tokens of their own.

    Raises:
        UsageError: A token that stands alone has an input, or one that needs an input has none.
    """
    begun = raw.strip()
    for token, sentence in SENTENCES.items():
        if begun.startswith(token):
            return filled(token, sentence, begun.removeprefix(token).strip())
    return raw


def filled(token: str, sentence: str, told: str) -> str:
    """Put an input into a sentence.

    Raises:
        UsageError: It takes none, or needs one.
    """
    if told and "{}" not in sentence:
        raise UsageError(f"{token} stands alone, but {told[:40]!r} follows it")
    if not told and "{}" in sentence:
        example = "<loc_52><loc_332><loc_932><loc_774>" if token[1:].startswith("REGION") else "..."
        raise UsageError(f"{token} needs something behind it", f"{token}{example}")
    return sentence.replace("{}", told)


def expand_as_published(raw: str, *, strip: bool) -> str:
    """Return what the references read: tokens are found anywhere in a text.

    Args:
        raw: The prompt.
        strip: Whether spaces around an input are left out, as in transformers but not on the hub.

    Raises:
        UsageError: A token that stands alone does not.
    """
    alone = [token for token, sentence in SENTENCES.items() if "{}" not in sentence]
    for token in alone:
        if token in raw:
            if raw != token:
                raise UsageError(f"{token} stands alone, but the prompt is {raw[:60]!r}")
            return SENTENCES[token]
    for token in SENTENCES:
        if token in raw:
            told = raw.replace(token, "")
            return SENTENCES[token].replace("{}", told.strip() if strip else told)
    return raw


def prompts(config: Florence2Config) -> Mapping[str, Asking]:
    """Return how a checkpoint of this configuration is asked, by task."""
    question = config.question + "{}"
    options = OPTIONS.changed(max_new_tokens=config.text.max_length)
    if config.spelled:
        options = options.changed(no_repeat_ngram_size=0)
    described = {"category": "<REGION_TO_CATEGORY>{}", "text": "<REGION_TO_OCR>{}"}
    asked = {
        "caption": Asking(
            template="<CAPTION>",
            options=options,
            forms={"detailed": "<DETAILED_CAPTION>", "paragraph": "<MORE_DETAILED_CAPTION>"},
        ),
        "answer": Asking(template=question, options=options, forms={"document": "<DocVQA>{}"}),
        "detect": Asking(
            template="<OD>",
            options=options,
            forms={
                "descriptions": "<DENSE_REGION_CAPTION>",
                "proposals": "<REGION_PROPOSAL>",
                "phrases": "<OPEN_VOCABULARY_DETECTION>{}",
            },
        ),
        "ground": Asking(template="<CAPTION_TO_PHRASE_GROUNDING>{}", options=options),
        "segment": Asking(
            template="<REFERRING_EXPRESSION_SEGMENTATION>{}",
            options=options,
            forms={"boxes": "<REGION_TO_SEGMENTATION>{}"},
        ),
        "read": Asking(
            template="<OCR>",
            options=options,
            forms={"regions": "<OCR_WITH_REGION>", "boxes": "<REGION_TO_OCR>{}"},
        ),
        "describe": Asking(template="<REGION_TO_DESCRIPTION>{}", options=options, forms=described),
        "prompt": Asking(template="{}", options=options),
    }
    return asked
