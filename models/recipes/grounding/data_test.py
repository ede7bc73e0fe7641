import unittest

import numpy as np

from grounding import data as gd


def queries(*phrases):
    """Phrases as (picture, types, pieces)."""
    pieces = np.array([list(said) + [-1] * (gd.LONGEST - len(said)) for _, _, said in phrases])
    types = [frozenset(of.split("/")) for _, of, _ in phrases]
    box = np.full((len(phrases), 4), np.nan, np.float32)
    return gd.Queries(pieces, np.array([picture for picture, *_ in phrases]), box, [()] * len(phrases), types)


class Cuts(unittest.TestCase):
    def test_the_first_is_whole_and_every_other_one_is_mirrored(self):
        cuts = gd.cuts(np.random.default_rng(1), 6)
        self.assertEqual(cuts[:2].tolist(), [[0, 0, 1, 1], [1, 0, 0, 1]])
        left, top, right, bottom = cuts.T
        self.assertEqual((left > right).tolist(), [False, True] * 3)
        self.assertTrue((np.abs(right - left) >= gd.SMALLEST - 1e-6).all() and (bottom - top >= gd.SMALLEST - 1e-6).all())
        self.assertTrue(((cuts >= 0) & (cuts <= 1)).all())

    def test_boxes_are_shown_where_pixels_are(self):
        box = np.array([[0.25, 0.5, 0.5, 1.0]])
        whole, mirrored, cut, gone = np.array([[0, 0, 1, 1], [1, 0, 0, 1], [0.5, 0.25, 0, 0.75], [0.5, 0, 1, 0.5]], float)
        np.testing.assert_allclose(gd.seen_in(box, whole)[0], box)
        np.testing.assert_allclose(gd.seen_in(box, mirrored)[0], [[0.5, 0.5, 0.75, 1.0]])
        shown, share = gd.seen_in(box, cut)
        np.testing.assert_allclose(shown, [[0, 0.5, 0.5, 1.0]])
        np.testing.assert_allclose(share, [0.5])
        self.assertEqual(gd.seen_in(box, gone)[1], [0])
        self.assertTrue(np.isnan(gd.seen_in(np.full((1, 4), np.nan), cut)[1]).all())


class WhatIsLacking(unittest.TestCase):
    def test_types_and_things_that_no_phrase_of_the_picture_has(self):
        asked = queries(
            (0, "people", [1]), (0, "scene", [2]), (0, "other", [3, 4]),
            (1, "animals", [5]), (1, "clothing", [6]), (1, "other", [7, 4]), (1, "other", [8]),
            (2, "scene", [9]), (2, "notvisual", [10]),
        )  # fmt: skip
        lacking = gd.Lacking(asked, 3)
        fits = lambda picture: [at for at in range(9) if lacking.fits(picture, at)]
        # people wear something, and the thing 4 is there
        self.assertEqual(fits(0), [3, 6])
        self.assertEqual(fits(2), [0, 2, 3, 4, 5, 6])
        self.assertEqual([lacking.nobody(picture) for picture in range(3)], [False, False, True])
        drawn = lacking.draw(np.random.default_rng(0), 0, 4)
        self.assertTrue(len(drawn) <= 4 and set(drawn.tolist()) <= {3, 6})


if __name__ == "__main__":
    unittest.main()
