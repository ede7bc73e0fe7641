"""python -m unittest discover -s models/recipes -t models/recipes -p "*_test.py": what MVCN's parts promise."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F

from sentiment import data as sd
from sentiment import mvcn, units_graph


class Simplex(unittest.TestCase):
    def test_published_vector(self):
        z = torch.tensor([[-2.0, 0.0, 0.5]])
        torch.testing.assert_close(mvcn.PI["sparsemax"](z), torch.tensor([[0.0, 0.25, 0.75]]))
        torch.testing.assert_close(mvcn.PI["entmax"](z), torch.tensor([[0.0, 0.3260, 0.6740]]), atol=5e-5, rtol=0)

    def test_rows_sum_to_one_and_masked_columns_are_zero(self):
        z = 4 * torch.randn(50, 17)
        z[:, 5] = -1e4
        for name, pi in mvcn.PI.items():
            p = pi(z)
            torch.testing.assert_close(p.sum(-1), torch.ones(50), msg=name)
            self.assertEqual(p[:, 5].abs().max(), 0, name)

    def test_gradient(self):
        z = torch.randn(4, 7, dtype=torch.double, requires_grad=True)
        self.assertTrue(torch.autograd.gradcheck(mvcn.PI["entmax"], (3 * z,)))


class Losses(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.labels = torch.tensor([0, 0, 1, 2, 2, 0])
        self.q = torch.randn(6, mvcn.DIM)

    def scc(self, q, mode):
        return mvcn.scc(q, self.labels, *mvcn.Centroids(False)(q, self.labels), mode)

    def test_literal_formula_ignores_a_common_distance(self):
        d = torch.rand(6)
        torch.testing.assert_close(-(-d).log_softmax(0), -(-(d + 10)).log_softmax(0))
        self.assertTrue(torch.isfinite(self.scc(self.q, "batch")))

    def test_class_mode_falls_when_centroids_separate(self):
        apart = self.q + 5 * F.one_hot(self.labels, mvcn.DIM)
        self.assertLess(self.scc(apart, "class"), self.scc(self.q, "class"))

    def test_accumulated_centroids_are_means_of_all_that_passed(self):
        centroids = mvcn.Centroids(True)
        centroids(self.q[:3], self.labels[:3])
        found, seen = centroids(self.q[3:], self.labels[3:])
        torch.testing.assert_close(found[0], self.q[self.labels == 0].mean(0))
        self.assertTrue(seen.all())

    def test_adaptive_targets_sum_to_one(self):
        disagree = torch.tensor([True, False, True, False, True, True])
        wanted = mvcn.alc_targets(self.labels, disagree, 0.1)
        torch.testing.assert_close(wanted.sum(1), torch.ones(6))
        torch.testing.assert_close(wanted[0], torch.tensor([0.9, 0.05, 0.05]))
        torch.testing.assert_close(wanted[1], torch.tensor([1.0, 0.0, 0.0]))


class Heads(unittest.TestCase):
    def batch(self, n=9):
        torch.manual_seed(1)
        return mvcn.Batch(torch.randn(1, n, mvcn.TEXT), torch.ones(1, n, dtype=torch.bool), torch.randn(1, 36, mvcn.PATCH))

    def test_padding_changes_nothing(self):
        text, mask, patches = self.batch()
        longer = mvcn.Batch(F.pad(text, (0, 0, 0, 4), value=7.0), F.pad(mask, (0, 4)), patches)
        for kind in ("guided", "equal", "text"):
            head = mvcn.Head(kind).eval()
            torch.testing.assert_close(head(longer).logits, head(mvcn.Batch(text, mask, patches)).logits, msg=kind)

    def test_files_say_what_torch_says(self):
        batch = self.batch()
        fed = {"tokens": batch.text[0].numpy(), "patches": batch.patches[0].numpy()}
        for kind in ("guided", "equal", "text", "image"):
            head = mvcn.Head(kind).eval()
            wanted = head(batch, first_row_only=False)
            for int8, tolerance in ((False, 1e-5), (True, 0.05)):
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "head.onnx"
                    units_graph.export(head, path, int8)
                    session = onnxruntime.InferenceSession(str(path))
                    answers = session.run(None, {i.name: fed[i.name] for i in session.get_inputs()})
                np.testing.assert_allclose(answers[0], wanted.logits[0].detach(), atol=tolerance)
                if kind == "guided":
                    np.testing.assert_allclose(answers[1], wanted.attention[0].detach(), atol=tolerance)


class Words(unittest.TestCase):
    def test_links_leave_and_nothing_else(self):
        self.assertEqual(sd.without_links("Wow! http://t.co/aB1 #ok t.co/x9 @me"), "Wow!  #ok  @me")
        self.assertEqual(sd.key("  A  b https://x.y/z"), sd.key("a B"))

    def test_copies_of_copies_are_one_group(self):
        from unittest import mock

        pairs = [sd.Pair(str(i), Path(str(i)), text, 0) for i, text in enumerate(["a", "a", "b", "c", "d"])]
        with mock.patch.object(sd, "pixels_digest", lambda path: {"2": "p", "1": "p"}.get(str(path), str(path))):
            found = sd.find_copies(pairs[:4], [pairs[4]._replace(text="c")])
        self.assertEqual(found["shared"], ["3"])
        self.assertEqual(len(set(found["group"].values())), 1)


if __name__ == "__main__":
    unittest.main()
