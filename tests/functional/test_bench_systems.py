"""The bench sees that the systems which it measures serve, by what their workers log."""

import pytest

from tests.bench.systems import BARE_FORK, OURS, Bench

WORKERS = 2


@pytest.mark.parametrize("name", [OURS, BARE_FORK])
def test_each_worker_is_seen_to_serve_and_its_successor_too(name: str) -> None:
    with Bench() as bench, bench.system(name, WORKERS, "unix") as running:
        assert len(running.serving) == WORKERS

        running.kill([min(running.serving)])
        running.wait_for_proofs(WORKERS + 1, deadline=30)

        assert len(running.serving) == WORKERS
