from __future__ import annotations

import pytest
import torch

from davsp.models.probe import KnownKinds, Probe


def test_a_probe_adds_up_the_projections_of_its_layers() -> None:
    states = torch.randn(5, 2, 3, generator=torch.manual_seed(0))
    directions = torch.randn(2, 3, generator=torch.manual_seed(1))
    expected = [sum(float(states[i, k] @ directions[k]) for k in range(2)) for i in range(5)]
    assert Probe((1, 4), directions).score(states).tolist() == pytest.approx(expected, abs=1e-5)
    one = Probe.at(4, directions[0])
    assert torch.allclose(one.score(states[:, :1]), states[:, 0] @ directions[0]) and str(one) == "decoder layer 4"
    with pytest.raises(ValueError, match="2 layers"):
        Probe((1, 2), directions[:1])


def test_a_state_is_as_far_from_the_known_kinds_as_from_the_nearest() -> None:
    generator = torch.manual_seed(0)
    first, second = (centre + torch.randn(200, 8, generator=generator) for centre in (0.0, 10.0))
    known = KnownKinds.of(3, torch.cat([first, second]), ["one"] * 200 + ["two"] * 200)
    assert known.centres.shape == (2, 8) and torch.allclose(known.spread, torch.ones(8), atol=0.15)
    inside, between = known.distances(torch.cat([second[:1], torch.full((1, 8), 5.0)])).tolist()
    assert inside < 4 < 15 < between
    bounded = KnownKinds(3, known.centres, known.spread, threshold=4.0)
    states = torch.stack([first[0], torch.full((8,), 5.0), torch.full((8,), float("nan"))])
    assert bounded.unfamiliar(states) == [False, True, True]
