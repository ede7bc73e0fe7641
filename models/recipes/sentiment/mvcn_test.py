"""python -m unittest discover -s models/recipes -t models/recipes -p "*_test.py": what MVCN's parts promise."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from common import runtime
from sentiment import data as sd
from sentiment import features, halves, mvcn, units_graph


def rng_values(shape) -> np.ndarray:
    return 0.2 * np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


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

    def head(self, kind):
        """A head whose every part says something."""
        head = mvcn.Head(kind).eval()
        head.take(halves.Halves(*(rng_values(shape) for shape in ((3, 2 * mvcn.TEXT), (3, mvcn.PATCH), (3,)))))
        head.classify.weight.data = 0.2 * torch.randn(mvcn.CLASSES, mvcn.DIM)
        return head

    def test_padding_changes_nothing(self):
        text, mask, patches = self.batch()
        longer = mvcn.Batch(F.pad(text, (0, 0, 0, 4), value=7.0), F.pad(mask, (0, 4)), patches)
        for kind in ("guided", "equal"):
            head = self.head(kind)
            torch.testing.assert_close(head(longer).logits, head(mvcn.Batch(text, mask, patches)).logits, msg=kind)

    def test_a_new_head_is_the_late_fusion(self):
        text, mask, patches = self.batch()
        late = halves.Halves(*(rng_values(shape) for shape in ((3, 2 * mvcn.TEXT), (3, mvcn.PATCH), (3,))))
        wanted = late.logits(*features.Seen(features.Texts(text[0].numpy(), np.array([0, 9])), [patches.numpy()], None).means())
        for kind in ("guided", "equal"):
            head = mvcn.Head(kind).eval()
            head.take(late)
            logits = head(mvcn.Batch(text, mask, patches)).logits.detach()
            torch.testing.assert_close(logits, torch.tensor(wanted, dtype=torch.float32), msg=kind)

    def test_files_say_what_torch_says(self):
        batch = self.batch()
        fed = {"tokens": batch.text[0].numpy(), "patches": batch.patches[0].numpy()}
        texts = features.Texts(fed["tokens"], np.array([0, len(fed["tokens"])]))
        means = features.Seen(texts, [batch.patches.numpy()], None).means()
        late = halves.Halves(*(rng_values(shape) for shape in ((3, 2 * mvcn.TEXT), (3, mvcn.PATCH), (3,))))
        cases = {kind: (self.head(kind), units_graph.export) for kind in ("guided", "equal")}
        alone = {"text": late._replace(image=None), "image": late._replace(text=None), "late": late}
        cases |= {kind: (part, units_graph.export_halves) for kind, part in alone.items()}
        for kind, (head, export) in cases.items():
            answer = head(batch, first_row_only=False) if kind in ("guided", "equal") else None
            wanted = head.logits(*means)[0] if answer is None else answer.logits[0].detach()
            for int8, tolerance in ((False, 1e-5), (True, 0.1)):
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "head.onnx"
                    export(head, path, int8)
                    session = runtime.session(path)
                    answers = session.run(None, {i.name: fed[i.name] for i in session.get_inputs()})
                np.testing.assert_allclose(answers[0], wanted, atol=tolerance, err_msg=kind)
                if kind == "guided":
                    np.testing.assert_allclose(answers[1], answer.attention[0].detach(), atol=0.05)


class Late(unittest.TestCase):
    def test_each_half_finds_its_own_class(self):
        """Words tell class 0 from the rest and the picture class 1: only both tell all three."""
        rng, labels = np.random.default_rng(3), np.arange(600) % 3
        words, pictures = rng.standard_normal((600, 5)), rng.standard_normal((600, 4)) + 7
        words[:, 2] += 4.0 * (labels == 0)
        pictures[:, 1] += 4.0 * (labels == 1)
        right = lambda found: (found.logits(words, pictures).argmax(1) == labels).mean()
        both, text = halves.fit(words, pictures, labels), halves.fit(words, None, labels)
        self.assertGreater(right(both), 0.9)
        self.assertLess(right(text), 0.8)
        self.assertIsNone(text.image)


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
