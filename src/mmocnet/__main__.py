"""`python -m mmocnet`."""

from mmocnet.cli import run

run()
