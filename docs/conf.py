import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from mmocnet import __version__

project = "mmocnet"
author = copyright = "The mmocnet developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated_reference"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_ext", "experiments-small"]

html_theme = "furo"
html_title = f"mmocnet {release}"
html_theme_options = {"announcement": "Research use only - not a medical device."}
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False

# Types of other packages have no pages here, and the documentation builds without a network.
nitpick_ignore_regex = [
    ("py:.*", r"(?!mmocnet\.).*"),
    ("py:.*", r"mmocnet\.types\..*"),
    ("py:class", r"mmocnet\..*\.[A-Z]"),  # type variables
]
