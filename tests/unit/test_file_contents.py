"""The content of the files is known before any option is registered."""

from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.config import file_contents, loader


def test_contents_are_those_of_all_files_and_libraries(tmp_path: Path) -> None:
    """Also an option of a library that has not registered it yet."""
    directory = tmp_path / "conf.d"
    directory.mkdir()
    file = tmp_path / "a.conf"
    file.write_text("[DEFAULT]\nworkers = 2\n[oslo_messaging_rabbit]\nssl = true\n")
    (directory / "b.conf").write_text("[health]\nwedged_after = 9\n")
    conf = cfg.ConfigOpts()
    args = [f"--config-file={file}", f"--config-dir={directory}"]
    loader.load(conf, "compute-launcher", args)
    before = file_contents.read("compute-launcher", args)
    assert file_contents.differences(before, file_contents.read("compute-launcher", args)) == set()

    file.write_text("[DEFAULT]\nworkers = 3\n")
    (directory / "c.conf").write_text("[rpc]\nx = 1\n")

    changed = file_contents.differences(before, file_contents.read("compute-launcher", args))
    assert changed == {("DEFAULT", "workers"), ("oslo_messaging_rabbit", "ssl"), ("rpc", "x")}


def test_a_usual_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """oslo.config finds it twice, by the names of project and program, which are one here."""
    monkeypatch.setenv("HOME", str(tmp_path))
    directory = tmp_path / "my-launcher.conf.d"
    directory.mkdir()
    places = [tmp_path / "my-launcher.conf", directory / "a.conf"]
    opt = cfg.MultiStrOpt("names")
    conf = cfg.ConfigOpts()
    conf.register_opt(opt)
    for place in places:
        place.write_text("[DEFAULT]\nnames = a\nnames = b\n")
    loader.load(conf, "my-launcher")
    assert conf.names == ["a", "b", "a", "b"]  # of each place
    assert file_contents.files("my-launcher") == list(map(str, places))
    for _ in range(2):
        places[0].write_text("[DEFAULT]\nnames = c\n")
        loader.look_for_files(conf, "my-launcher")
        conf.reload_config_files()
        assert conf.names == ["c", "a", "b"]


def test_the_file_whose_word_counts_is_found(tmp_path: Path) -> None:
    first, second = tmp_path / "a.conf", tmp_path / "b.conf"
    first.write_text("[DEFAULT]\nworkers = 2\ndebug = true\n")
    second.write_text("[DEFAULT]\nworkers = 3\n")
    args = [f"--config-file={file}" for file in (first, second)]
    found = {
        name: file_contents.file_of(("DEFAULT", name), "compute-launcher", args)
        for name in ("workers", "debug", "host")
    }
    assert found == {"workers": str(second), "debug": str(first), "host": None}
