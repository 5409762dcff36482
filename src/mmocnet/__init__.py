"""Find, outline, count and report cerebral microbleeds in susceptibility-weighted MRI.

Research use only - not a medical device.
"""

__version__ = "0.1.0"
