"""The sample in etc/ is what `config sample` prints."""

from pathlib import Path

from launcher.cli.config_command import OUR_URL, make_sample

SAMPLE = Path(__file__).parents[2] / "etc" / "compute-launcher.conf.sample"


def test_sample_is_fresh() -> None:
    """Mend with: compute-launcher config sample > etc/compute-launcher.conf.sample"""
    assert SAMPLE.read_text(encoding="utf-8") == make_sample()


def test_sample_names_the_embedded_bus_as_default() -> None:
    assert OUR_URL in make_sample()
