"""One colour-blind-safe palette for the labels, errors and charts in every picture of the project.

Hues are those of Okabe and Ito, "Color Universal Design" (2008).
"""

from __future__ import annotations

# Class index 1 to 7; background has none. Further classes take darker, then lighter shades of the same hues.
LABEL_COLOURS = ("#E69F00", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#F0E442", "#0072B2")
_SHADES = (0.0, -0.45, 0.55)
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = "#009E73", "#F0E442", "#CC79A7"
OP_COLOURS = {
    "Conv": "#0072B2",
    "ConvTranspose": "#56B4E9",
    "Resize": "#E69F00",
    "Reshape": "#F0E442",
    "InstanceNormalization": "#009E73",
    "BatchNormalization": "#009E73",
    "Concat": "#D55E00",
    "Add": "#CC79A7",
    "MaxPool": "#E69F00",
}
OTHER_OP = "#999999"
INK, ACCENT, SECONDARY, MUTED, GRID = "#222222", "#0072B2", "#D55E00", "#999999", "#E4E4E4"
PASSED, FAILED = "#1B7837", "#B2182B"


def label_colour(index: int) -> str:
    """The colour of a class index of at least 1.

    >>> label_colour(1), label_colour(8)
    ('#E69F00', '#7E5700')
    """
    turn, hue = divmod(index - 1, len(LABEL_COLOURS))
    shade = _SHADES[turn % len(_SHADES)]
    target = 1.0 if shade > 0 else 0.0
    mixed = [value + (target - value) * abs(shade) for value in rgb(LABEL_COLOURS[hue])]
    return "#" + "".join(f"{round(255 * value):02X}" for value in mixed)


def rgb(colour: str) -> tuple[float, float, float]:
    """A hexadecimal colour as red, green and blue in 0 to 1.

    >>> rgb("#FF0033")
    (1.0, 0.0, 0.2)
    """
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue
