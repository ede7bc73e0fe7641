"""Vectors and pictures that the tests compare with."""
