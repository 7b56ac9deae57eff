"""Fonts for names in any script."""

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

__all__ = ["families", "font_file"]

_said: set[int] = set()


def families(words: Iterable[str]) -> list[str]:
    """Return the fonts, in order, in which matplotlib finds the letters of these words."""
    from matplotlib.ft2font import FT2Font

    return ["DejaVu Sans", FT2Font(font_file(words)).family_name]


def font_file(words: Iterable[str]) -> str:
    """Return the font with most letters of these words, preferably matplotlib's own."""
    return _having(frozenset("".join(words)))


@cache
def _having(letters: frozenset[str]) -> str:
    from matplotlib import get_data_path

    wanted = {ord(letter) for letter in letters if letter.isprintable()}
    own = str(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"))
    if wanted <= _known(own):
        return own
    best = max((own, *_installed()), key=lambda file: len(wanted & _known(file)))
    if lacking := wanted - _known(best) - _said:
        _said.update(lacking)
        some = "".join(map(chr, sorted(lacking)[:10]))
        print(
            f"Pictures show boxes for {some}: no font that is installed has all letters.",
            file=sys.stderr,
        )
    return best


def _installed() -> list[str]:
    """Return the files of upright fonts, except one that has a box for every letter."""
    from matplotlib.font_manager import fontManager

    fonts = [f for f in fontManager.ttflist if f.style == "normal" and "Last Resort" not in f.name]
    return sorted({font.fname for font in fonts if font.weight == 400})


@cache
def _known(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # removed, or damaged
        return frozenset()
