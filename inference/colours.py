"""Images of any Pillow mode as RGB, the same for everything that Kennel reads."""

import numpy as np
from PIL import Image

BACKGROUND = "white"


def rgb(image: Image.Image) -> Image.Image:
    """The image in RGB of 8 bits: transparency on white, grey of more than 8 bits by the range that it uses."""
    if image.mode.startswith(("I", "F")):
        # Medical and depth images use a part of the range; convert() would cut off what is above 255.
        grey = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
        low, high = float(grey.min()), float(grey.max())
        return Image.fromarray(((grey - low) * (255 / ((high - low) or 1))).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        below = Image.new("RGB", whole.size, BACKGROUND)
        below.paste(whole, mask=whole)
        return below
    return image if image.mode == "RGB" else image.convert("RGB")
