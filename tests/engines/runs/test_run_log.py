"""log.txt has what is logged, of one run at a time, and never ends a run."""

import logging
import shutil

import pytest

from ctan_monai.engines.runs.run_folder import end_log, log_to


@pytest.fixture
def logger():
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    yield logging.getLogger("test_run_log")
    root.setLevel(level)


def test_each_run_has_its_own_file_and_an_ended_one_gets_no_more(tmp_path, logger):
    log_to(tmp_path / "first.txt")
    logger.info("one")
    log_to(tmp_path / "second.txt")
    logger.info("two")
    end_log()
    logger.info("three")
    texts = [(tmp_path / name).read_text() for name in ("first.txt", "second.txt")]
    assert [text.split("test_run_log: ")[1:] for text in texts] == [["one\n"], ["two\n"]]


def test_a_folder_that_is_gone_is_reported_and_ends_nothing(tmp_path, logger, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    log_to(folder / "log.txt")
    shutil.rmtree(folder)
    logger.info("the training goes on")
    assert "No such file or directory" in capsys.readouterr().err


def test_the_log_does_not_hold_the_name_of_the_users_home(tmp_path, monkeypatch):
    home = tmp_path / "anna.miller"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    log_to(tmp_path / "log.txt")
    try:
        logging.getLogger("ours").warning("%s/data/ct.nii, '%s', and %s2/x of another", home, home, home)
        try:
            raise ValueError(f"{home}/b")
        except ValueError:
            logging.getLogger("ours").exception("failed")
    finally:
        end_log()
    written = (tmp_path / "log.txt").read_text()
    assert "~/data/ct.nii, '~', and" in written
    assert "ValueError: ~/b" in written
    assert written.count("anna.miller") == 1  # a folder of another name
