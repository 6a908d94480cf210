"""One colour-blind-safe palette for labels and errors in every picture of the project.

Colours are those of Okabe and Ito, "Color Universal Design" (2008).
"""

from __future__ import annotations

# Class index -> colour; background has none. Later classes repeat from the start.
LABEL_COLOURS = ("#E69F00", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#F0E442", "#0072B2")
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = "#009E73", "#E69F00", "#CC79A7"
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


def label_colour(index: int) -> str:
    """The colour of a class index of at least 1."""
    return LABEL_COLOURS[(index - 1) % len(LABEL_COLOURS)]


def rgb(colour: str) -> tuple[float, float, float]:
    """A hexadecimal colour as three numbers in 0 to 1."""
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
