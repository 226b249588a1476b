"""The arithmetic of the floor model (benchmarks/gpu_floor.py), by hand-made cards whose inputs are round numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_floor
from benchmarks.gpu_floor import CARDS, Card, Work, card_named, floor, kept, launched, product_ms, step

# 10 processors of 1 GHz: 100 multiply-adds per cycle of each in halves; 100 bytes of the cache per cycle of each.
ROUND = Card(
    "round", 10, 1.0, 2.0, 1.0, 0.5, 0.5, 1e6, True, cache_tbs=1.0, kept_bytes=4000, register_bytes=2000,
    shared_bytes_per_cycle=10, cluster_bytes_per_cycle=4, launch_us=3.0, chain_cycles=100, cluster_cycles=200,
    card_cycles=700,
)  # fmt: skip


def near(microseconds: Any, way: str) -> Any:
    """What a step is to be equal to."""
    return (microseconds, way)


def test_groups_of_processors_are_the_kernels() -> None:
    text = (Path(__file__).parents[2] / "csrc/cuda/resident/occupancy.h").read_text(encoding="utf-8")
    found = re.search(r"h100\[\] = \{([\d, ]+)\}", text)
    assert found is not None
    assert tuple(int(size) for size in found[1].split(",")) == gpu_floor.HOPPER_GROUPS


def test_a_step_of_launches() -> None:
    # 4 matrices of 100 by 100: 80 kB of weights take 0.08 us of the cache; 2 * 40000 * 8 operations 0.32 us.
    assert launched(ROUND, Work(4, 1), 8, 100, "bfloat16").microseconds == pytest.approx(0.32 + 6)
    assert launched(ROUND, Work(4, 2), 1, 100, "bfloat16").microseconds == pytest.approx(0.08 + 12)
    # 8 MB of them do not stay in the cache.
    assert launched(ROUND, Work(4, 1), 1, 1000, "bfloat16").microseconds == pytest.approx(16 + 6)


def test_a_step_of_one_block() -> None:
    # 400 weights by 8 rows, at 100 a cycle, and the chain. No exchange.
    assert kept(ROUND, Work(4, 1), 3, 10, "bfloat16", 1) == near(pytest.approx(0.132), "cluster of 1")


def test_a_step_of_a_cluster() -> None:
    # 800 weights by 8 rows: 64 cycles; 20 * 8 * 2 bytes, half of them from the other: 40 cycles.
    found = kept(ROUND, Work(4, 1), 8, 20, "bfloat16", 2)
    assert found == near(pytest.approx((64 + 100 + 200 + 40) / 1e3), "cluster of 2")
    back = kept(ROUND, Work(4, 1), 8, 20, "bfloat16", 2, backward=True)
    assert back == near(pytest.approx((64 + 100 + 200 + 80) / 1e3), "cluster of 2")


def test_a_step_of_the_card() -> None:
    cards_own = Card(**{**ROUND.__dict__, "processors": 20, "half_tflops": 4.0, "cache_tbs": 2.0})
    # 320 weights by 8 rows, at 100 a cycle; 40 units by 8 rows, 95 % of them from the others, at 100 bytes a cycle.
    found = kept(cards_own, Work(4, 1), 8, 40, "bfloat16", 20)
    assert found == near(pytest.approx((320 * 8 / 100 + 100 + 700 + 40 * 8 * 2 * 0.95 / 100) / 1e3), "card")


def test_a_backwards_step_of_the_card() -> None:
    cards_own = Card(**{**ROUND.__dict__, "processors": 20, "half_tflops": 4.0, "cache_tbs": 2.0, "kept_bytes": 8000})

    def back(work: Work, batch: int, hidden: int, **inputs: Any) -> Any:
        return kept(Card(**{**cards_own.__dict__, **inputs}), work, batch, hidden, "bfloat16", 20, backward=True)

    # 3 blocks of 16 units, of two teams: 4 * 40 * 16 weights by 8 rows, at 100 a cycle. They take longer than 160
    # numbers of 8 rows by a block's own port, 64 bytes a cycle.
    fast = {"shared_bytes_per_cycle": 1000}
    assert back(Work(4, 1), 16, 40, **fast) == near(pytest.approx((2560 * 8 / 100 + 100 + 700) / 1e3), "card")
    # 5120 bytes of weights, 3120 of them at 10 a cycle.
    assert back(Work(4, 1), 16, 40) == near(pytest.approx((312 + 100 + 700) / 1e3), "card")
    # By a narrow port; and a cache of 24 bytes a nanosecond has 4 for each of the 6.
    narrow = back(Work(4, 1), 16, 40, **fast, port_bytes_per_cycle=8)
    assert narrow == near(pytest.approx((160 * 8 * 2 / 8 + 100 + 700) / 1e3), "card")
    shared = back(Work(4, 1), 16, 40, **fast, cache_tbs=0.024)
    assert shared == near(pytest.approx((160 * 8 * 2 / 4 + 100 + 700) / 1e3), "card")
    # More tiles of units than processors: a block has two. More than 32 of them, with room: a block has two as well.
    wide = back(Work(1, 1), 8, 400, **fast, kept_bytes=400 * 32 * 2)
    assert wide == near(pytest.approx((400 * 32 * 8 / 100 + 100 + 700) / 1e3), "card")
    many = {"processors": 40, "half_tflops": 8.0, **fast}
    few = back(Work(1, 1), 8, 528, **many, kept_bytes=528 * 32 * 2)
    assert few == near(pytest.approx((528 * 32 * 8 / 100 + 100 + 700) / 1e3), "card")
    assert kept(ROUND, Work(4, 1), 8, 41, "bfloat16", 20, backward=True) is None
    assert back(Work(4, 1), 8, 80) is None


def test_weights_that_stand_in_shared_memory_are_read() -> None:
    # 3200 bytes, 1200 of them by 10 a cycle, which is less than the products' 128.
    assert kept(ROUND, Work(4, 1), 8, 20, "bfloat16", 1) == near(pytest.approx((128 + 100) / 1e3), "cluster of 1")
    slow = Card(**{**ROUND.__dict__, "shared_bytes_per_cycle": 4})
    assert kept(slow, Work(4, 1), 8, 20, "bfloat16", 1) == near(pytest.approx((300 + 100) / 1e3), "cluster of 1")


def test_two_phases_wait_twice() -> None:
    one, two = (kept(ROUND, Work(4, phases), 8, 20, "bfloat16", 2) for phases in (1, 2))
    assert one is not None
    assert two is not None
    assert two.microseconds - one.microseconds == pytest.approx((100 + 200 + 40) / 1e3)


def test_what_cannot_be_kept() -> None:
    assert kept(ROUND, Work(4, 1), 8, 100, "bfloat16", 1) is None
    without = Card(**{**ROUND.__dict__, "has_clusters": False})
    assert kept(without, Work(4, 1), 8, 20, "bfloat16", 2) is None
    assert kept(without, Work(4, 1), 8, 20, "bfloat16", 1) is not None


def test_a_cluster_lies_within_a_group() -> None:
    groups = Card(**{**ROUND.__dict__, "groups": (3, 3, 4)})
    assert [groups.clusters(blocks) for blocks in (1, 2, 3, 4, 5)] == [10, 4, 3, 1, 0]
    # 20 rows: 4 clusters have 8 each, where 5 have 4, in tiles of 8 as well; 40 rows: 16 and 8.
    fits, waits = (kept(groups, Work(4, 1), batch, 20, "bfloat16", 2) for batch in (20, 40))
    assert fits == kept(ROUND, Work(4, 1), 20, 20, "bfloat16", 2)
    assert waits == near(pytest.approx((128 + 100 + 200 + 80) / 1e3), "cluster of 2")
    assert kept(groups, Work(4, 1), 8, 20, "bfloat16", 8) is None
    for name in ("h100", "h200"):
        card = CARDS[name]
        assert sum(card.groups) == card.processors
        assert [card.clusters(blocks) for blocks in (1, 2, 4, 8, 16)] == [132, 66, 31, 15, 7]


def test_the_least_is_taken() -> None:
    assert step(ROUND, Work(4, 1), 3, 10, "bfloat16").way == "cluster of 1"
    assert step(ROUND, Work(4, 1), 3, 1000, "bfloat16").way == "launches"


def test_a_product() -> None:
    assert product_ms(ROUND, 1000, 100, 100, "bfloat16") == pytest.approx(0.01)
    assert product_ms(ROUND, 1000, 1, 1, "bfloat16") == pytest.approx(4002 / 0.5 * 1e-9)


def test_a_layer_is_its_parts() -> None:
    card, shape = CARDS["h100"], (100, 16, 64, 256)
    work = Work.of("gru")
    one = step(card, work, 16, 256, "tf32").microseconds
    back = step(card, work, 16, 256, "tf32", backward=True).microseconds
    x_part = product_ms(card, 1600, 64, 768, "tf32")
    h_part = product_ms(card, 1600, 256, 768, "tf32")
    found = floor(card, "gru", shape, "tf32")
    assert found.inference == pytest.approx(x_part + one / 10)
    assert found.training == pytest.approx(3 * x_part + h_part + (one + back) / 10)


@pytest.mark.parametrize(
    ("cell", "work"),
    [("lstm", (4, 1)), ("gru", (3, 1)), ("gru_reset_before", (3, 2)), ("mut1", (2, 2)), ("lstm_fgr", (13, 1))],
)
def test_what_a_cell_multiplies(cell: str, work: tuple[int, int]) -> None:
    assert Work.of(cell) == work


def test_cards_by_cudas_names() -> None:
    assert card_named("NVIDIA H200") is CARDS["h200"]
    assert card_named("NVIDIA A100-SXM4-80GB") is CARDS["a100"]
    assert card_named("the host") is None


def test_the_table(capsys: Any) -> None:
    assert gpu_floor.main(["--card", "h200"]) == 0
    said = capsys.readouterr().out
    assert "not measured" in said
    assert "card_cycles 750" in said
    assert said.count("wanted:") == len(list(gpu_floor.figures()))
