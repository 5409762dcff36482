from pathlib import Path

import mmocnet

ROOT = Path(__file__).parents[2]


def test_the_citation_names_this_version_and_the_article() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {mmocnet.__version__}\n" in text
    assert "doi: 10.3389/fbioe.2022.937314" in text
