"""What keeps a draft from being made."""

from __future__ import annotations


class DraftError(ValueError):
    """No cloud file can be drafted; the text says why and what to do. Nothing was written."""
