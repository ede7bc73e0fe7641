"""Late fusion: what the words say alone and what the picture says alone, added.

Each half is a linear map, held near nothing: of the first and the mean row of the text trunk's
`tokens`, and of the mean row of the image trunk's `patches`. Few numbers are learnt, so that neither half can know a post by heart.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

# Penalties of the squared weights of standardised features, chosen by cross-validation.
TEXT_PENALTY, IMAGE_PENALTY = 0.3, 0.3
STEPS = 30


class Halves(NamedTuple):
    """logits = text . (first token, mean token) + image . mean patch + bias; either half may be missing."""

    text: np.ndarray | None  # [3, 768]
    image: np.ndarray | None  # [3, 320]
    bias: np.ndarray  # [3]

    def logits(self, words: np.ndarray, pictures: np.ndarray) -> np.ndarray:
        found = np.tile(self.bias, (len(words), 1))
        for weight, rows in ((self.text, words), (self.image, pictures)):
            if weight is not None:
                found = found + rows @ weight.T
        return found


def fit(words: np.ndarray | None, pictures: np.ndarray | None, labels: np.ndarray) -> Halves:
    """The halves that are given, fitted together on rows [n, 768] and [n, 320]."""
    given = [(rows, penalty) for rows, penalty in ((words, TEXT_PENALTY), (pictures, IMAGE_PENALTY)) if rows is not None]
    scales = [(rows.mean(0), rows.std(0) + 1e-6) for rows, _ in given]
    x = [torch.tensor((rows - mean) / spread, dtype=torch.float32) for (rows, _), (mean, spread) in zip(given, scales)]
    y, classes = torch.tensor(labels), 3
    weights = [torch.zeros(rows.shape[1], classes, requires_grad=True) for rows in x]
    bias = torch.zeros(classes, requires_grad=True)
    descent = torch.optim.LBFGS([*weights, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss():
        descent.zero_grad()
        logits = sum(rows @ weight for rows, weight in zip(x, weights)) + bias
        held = sum(penalty * weight.square().sum() for (_, penalty), weight in zip(given, weights))
        found = F.cross_entropy(logits, y) + 0.5 * held
        found.backward()
        return found

    descent.step(loss)
    # as if the rows were not standardised
    plain = [(weight.detach().numpy() / spread[:, None]).T for weight, (_, spread) in zip(weights, scales)]
    shift = sum(weight @ mean for weight, (mean, _) in zip(plain, scales))
    text = plain[0] if words is not None else None
    image = plain[-1] if pictures is not None else None
    return Halves(text, image, bias.detach().numpy() - shift)
