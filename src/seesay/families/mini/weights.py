"""Published layouts of seesay/mini: none but the library's own folder, which ships with it."""

from __future__ import annotations

from seesay.family import Layout

LAYOUTS: tuple[Layout, ...] = ()
