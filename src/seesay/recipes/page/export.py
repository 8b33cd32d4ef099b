"""A trained student to the folder that ships with the library."""

from __future__ import annotations

from pathlib import Path

from seesay import registry
from seesay.checkpoints.native import save
from seesay.errors import StorageError
from seesay.families.florence2.configs import page
from seesay.families.florence2.processing import make_processor, published_settings
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.page.learning import made
from seesay.recipes.page.trace import SIZE

MOST_BYTES = 15_000_000


def export(run: Path, vocabulary: Path, folder: Path) -> int:
    """Write half-precision weights, manifest and tokenizer; return their size in bytes.

    Args:
        run: A stage's folder.
        vocabulary: The folder with the tokenizer.
        folder: Where they go.

    Raises:
        StorageError: They are larger than what may ship.
    """
    family, config = registry.family("florence2"), page()
    tokenizer = ByteLevelTokenizer.from_folder(vocabulary)
    assert tokenizer is not None
    module = made(config, tokenizer, run).model.half()
    processor = make_processor(config, published_settings(SIZE), vocabulary)
    save(folder, family, config, processor, module, name="seesay/page")
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > MOST_BYTES:
        raise StorageError(f"{folder} has {size} bytes, {MOST_BYTES} may ship")
    return size
