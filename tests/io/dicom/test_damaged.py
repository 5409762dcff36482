"""Bytes changed at random: one sentence or an image, never a warning that quotes the header."""

import pytest

from mmocnet.errors import InputError
from mmocnet.io.read import read_scan

SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")


@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_damaged_header_gives_one_sentence_or_an_image(
    tmp_path, write_dicom_series, volume, rng, syntax, multiframe
):
    path = write_dicom_series(tmp_path, volume, multiframe=multiframe, transfer_syntax=syntax)[0]
    intact, messages = path.read_bytes(), []
    for _ in range(40):
        broken = bytearray(intact)
        for at in rng.integers(132, 2600, rng.integers(1, 8)):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        try:
            assert 1 <= read_scan(path).volume.shape[2] <= 9
        except InputError as error:
            messages.append(str(error))
    assert messages
    assert not any("Fake" in message or "\n" in message for message in messages)


def test_every_length_gives_one_sentence_or_an_image(tmp_path, write_dicom_series, volume):
    path = write_dicom_series(tmp_path, volume)[0]
    intact = path.read_bytes()
    sizes = [*range(1, len(intact), 97)]
    for size in sizes:
        path.write_bytes(intact[:size])
        with pytest.raises(InputError):
            read_scan(path)
