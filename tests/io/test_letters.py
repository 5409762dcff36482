import numpy as np
import pytest
from PIL import Image

from mmocnet.io.letters import draw_letters


@pytest.mark.parametrize("grey", [0, 235, 255])
def test_letters_stand_out_on_any_background(grey):
    image = Image.new("RGB", (120, 120), (grey, grey, grey))
    draw_letters(image, ("R", "L", "A", "P"))
    drawn = np.asarray(image.convert("L")).astype(int)
    for part in (drawn[:, :30], drawn[:, 90:], drawn[:30], drawn[90:]):
        assert np.abs(part - grey).max() > 200
