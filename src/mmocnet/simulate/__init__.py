"""Susceptibility-weighted studies from first principles, with an exact reference."""
