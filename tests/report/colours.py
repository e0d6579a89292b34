"""How different two colours look, also to colour-blind readers (Machado et al. 2009, full severity; CIE 1976)."""

import numpy as np

SEES = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def linear(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(channels):
    x, y, z = np.cbrt(np.maximum(XYZ @ np.clip(channels, 0, 1) / WHITE, 1e-4))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(first, second):
    """Return the smallest distance of two colours over all kinds of sight; below 5, they are hard to tell apart."""
    return min(
        float(np.linalg.norm(lab(np.array(sight) @ linear(first)) - lab(np.array(sight) @ linear(second))))
        for sight in SEES.values()
    )


def contrast(first, second):
    """Return the contrast of two colours (WCAG)."""
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)
