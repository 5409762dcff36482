"""Letters in a picture that say which side of the body is which."""

from PIL import Image, ImageDraw, ImageFont


def draw_letters(image: Image.Image, letters: tuple[str, str, str, str]) -> None:
    """Write letters at the middle of a picture's sides.

    Args:
        image: RGB, written on.
        letters: For left, right, top, bottom; empty where the side is not known.
    """
    draw, (width, height) = ImageDraw.Draw(image), image.size
    font = ImageFont.load_default(max(11, height // 16))
    left, right, top, bottom = letters
    for text, at, anchor in (
        (left, (4, height // 2), "lm"),
        (right, (width - 4, height // 2), "rm"),
        (top, (width // 2, 2), "ma"),
        (bottom, (width // 2, height - 3), "md"),
    ):
        # With an edge, to be read on bright tissue too.
        draw.text(
            at,
            text,
            fill=(235, 235, 235),
            font=font,
            anchor=anchor,
            stroke_width=1,
            stroke_fill=(0, 0, 0),
        )
