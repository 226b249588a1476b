"""Models as people train them: the loss curve is the same with torch.nn's recurrent layers and with ours."""

from __future__ import annotations

import pytest
import torch

models = pytest.importorskip("benchmarks.models")


@pytest.mark.parametrize("name", models.MODELS)
def test_a_model_has_the_same_loss_curve(name: str) -> None:
    theirs, ours = models.curves(name, models.SMALL[name], steps=8)
    assert theirs == pytest.approx(ours, rel=1e-4)
    assert theirs[-1] < theirs[0]


def test_a_curve_can_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    # The other side with another learning rate.
    size = models.SMALL["tagger"]
    theirs, _ = models.curves("tagger", size, steps=4)
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr: adam(parameters, lr=2 * lr))
    _, ours = models.curves("tagger", size, steps=4)
    assert theirs != pytest.approx(ours, rel=1e-4)
