"""Errors: what they say, that they survive a worker process, and how an uncaught one ends a program."""

import errno
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from monai.transforms import Compose

from ctan_monai.errors import (
    CheckpointError,
    ConfigError,
    CtanError,
    DataError,
    cannot_write,
    explain,
    find_ctan_error,
)

ERRORS = {
    "data": (
        DataError("pt_1/ct.csv", "pt_1", "line 3 is cut short.", "Download it again."),
        "pt_1/ct.csv (case pt_1): line 3 is cut short. Remedy: Download it again.",
    ),
    "data without a case": (
        DataError("data", None, "there is no patient.", "Check the path."),
        "data: there is no patient. Remedy: Check the path.",
    ),
    "config": (
        ConfigError("--method", "'ctna' is unknown.", "Use ctan."),
        "--method: 'ctna' is unknown. Remedy: Use ctan.",
    ),
    "checkpoint": (
        CheckpointError("run/last.pt", "it is damaged.", "Use a copy."),
        "run/last.pt: it is damaged. Remedy: Use a copy.",
    ),
}


@pytest.fixture(params=ERRORS)
def error_and_message(request):
    return ERRORS[request.param]


def fail(error):
    raise error


def test_the_message_names_place_finding_and_remedy(error_and_message):
    error, message = error_and_message
    assert str(error) == message
    assert isinstance(error, CtanError)


def test_pickling_keeps_kind_message_and_every_field(error_and_message):
    error, message = error_and_message
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy), vars(copy)) == (type(error), message, vars(error))


def test_an_error_of_a_worker_process_arrives_whole():
    error, message = ERRORS["data"]
    with ProcessPoolExecutor(1) as pool, pytest.raises(DataError) as caught:
        pool.submit(fail, error).result()
    assert (str(caught.value), caught.value.case, caught.value.path) == (message, "pt_1", Path("pt_1/ct.csv"))


def test_the_cause_is_found_under_what_a_framework_wraps_around_it():
    error, _ = ERRORS["data"]
    with pytest.raises(RuntimeError, match="applying transform") as caught:  # as MONAI wraps it
        Compose([fail])(error)
    assert find_ctan_error(caught.value) is error
    assert find_ctan_error(error) is error
    assert find_ctan_error(ValueError("a bug")) is None
    assert find_ctan_error(None) is None


@pytest.mark.parametrize(
    ("options", "raised", "plain"),
    [
        ([], "DataError('ct.csv', 'pt_1', 'it is cut.', 'Load it again.')", True),
        ([], "ValueError('a bug')", False),
        (["-X", "dev"], "DataError('ct.csv', 'pt_1', 'it is cut.', 'Load it again.')", False),
    ],
    ids=["on purpose", "a bug", "debugged"],
)
def test_an_uncaught_error_made_on_purpose_ends_a_program_with_one_line(options, raised, plain):
    program = (
        f"from ctan_monai.errors import *\nfrom ctan_monai import errors\nerrors.install_excepthook()\nraise {raised}"
    )
    done = subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    if plain:
        assert done.stderr == "DataError: ct.csv (case pt_1): it is cut. Remedy: Load it again.\n"
    else:
        assert "Traceback (most recent call last)" in done.stderr
        assert raised.split("(")[0] in done.stderr


def test_a_wrapped_error_ends_a_program_plainly_too():
    program = (
        "from ctan_monai.errors import ConfigError, install_excepthook\n"
        "install_excepthook()\n"
        "try:\n    raise ConfigError('--epochs', 'found -1.', 'Give 1 or more.')\n"
        "except ConfigError as error:\n    raise RuntimeError('Failed to instantiate') from error\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "ConfigError: --epochs: found -1. Remedy: Give 1 or more.\n")


@pytest.mark.parametrize("how", ["from error", ""])
def test_what_began_an_error_of_others_stands_below_its_traceback(how):
    program = (
        "from ctan_monai.errors import install_excepthook\n"
        "install_excepthook()\n"
        "try:\n    import no_such_module\n"
        f"except ImportError as error:\n    raise RuntimeError('Failed to instantiate') {how}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.endswith("What began it: ModuleNotFoundError: No module named 'no_such_module'\n")


def test_an_error_without_another_before_it_is_told_once():
    program = "from ctan_monai.errors import install_excepthook\ninstall_excepthook()\nraise RuntimeError('odd')\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "What began it" not in done.stderr
    assert done.stderr.endswith("RuntimeError: odd\n")


@pytest.mark.parametrize(
    ("number", "remedy", "never"),
    [
        (errno.EACCES, "Ask for the permission", "Free space"),
        (errno.EROFS, "Ask for the permission", "Free space"),
        (errno.ENOSPC, "Free space", "permission"),
        (errno.ENOTDIR, "A file has the name of a folder", "Free space"),
        (errno.ENAMETOOLONG, "Give a shorter name", "Free space"),
        (errno.EIO, "Look after the disk", "Free space"),
    ],
)
def test_what_cannot_be_written_has_the_remedy_for_its_reason(number, remedy, never):
    said = str(cannot_write("runs/ctan", OSError(number, os.strerror(number), "elsewhere")))
    assert said.startswith(f"runs/ctan: it cannot be written ({os.strerror(number)}). Remedy: {remedy}")
    assert never not in said
    assert "shorter" in remedy or ("--output_dir" in said and "--cache_dir" in said)


def worker_without_shared_memory():
    inner = (
        "Traceback (most recent call last):\nRuntimeError: unable to allocate shared memory(shm) for file </torch_1_2>"
    )
    return RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\nOriginal {inner}\n")


@pytest.mark.parametrize(
    ("error", "setting"),
    [
        (worker_without_shared_memory(), "--workers: RuntimeError: unable to allocate shared memory"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "--workers"),
        (RuntimeError("PyTorch is not linked with support for mps devices"), "--device"),
        (AssertionError("Torch not compiled with CUDA enabled"), "--device"),
        (NotImplementedError("aten::x is not currently implemented for the MPS device. If you"), "--device"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "--batch_size"),
        (ValueError("run ID 'trainning' doesn't exist in the config file."), "monai.bundle run"),
        (PermissionError(errno.EACCES, "Permission denied", "cache/a.case"), "cache/a.case: it cannot be used"),
        (KeyError("shared memory"), None),
        (ValueError("a bug"), None),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), None),
    ],
)
def test_what_other_libraries_say_of_the_machine_is_explained_and_a_bug_is_not(error, setting):
    wrapped = RuntimeError("Failed to evaluate")
    wrapped.__cause__ = error
    found = explain(wrapped)
    assert (found is None) if setting is None else str(found).startswith(setting)


def fail_inside(names):
    return len(names + 1)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"_target_": "torch.optim.Adam", "params": [], "lerning_rate": 3}, "torch.optim.Adam: .*'lerning_rate'"),
        ({"_target_": "ctan_monai.tasks.Segmentation"}, "ctan_monai.tasks.Segmentation: .*missing.*'name'"),
        ({"_target_": "torch.optim.Adm"}, "--config_file: .*torch.optim.Adm"),
        ({"lr": "@learning_rat"}, "--config_file: .*learning_rat.*Correct the id"),
        ({"_target_": fail_inside, "names": "a"}, None),
    ],
)
def test_what_a_config_says_wrongly_is_explained_and_a_fault_inside_a_component_is_not(config, said):
    with pytest.raises(Exception, match=r".") as raised:
        ConfigParser({"made": config}).get_parsed_content("made")
    found = explain(raised.value)
    assert (found is None) if said is None else re.match(said, str(found))


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "łó"), ("ascii", r"\u0142\xf3"), ("cp1252", r"\u0142ó")])
def test_a_console_without_some_letters_shows_their_numbers(encoding, shown):
    program = (
        "from ctan_monai.errors import ConfigError, install_excepthook\n"
        "install_excepthook()\nprint('\\u0142\\u00f3')\n"
        "raise ConfigError('--input', '\\u0142.png is missing.', 'Look for it.')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
    assert (done.returncode, done.stdout.decode(encoding).strip()) == (1, shown)
    assert done.stderr.decode(encoding).startswith("ConfigError: --input: ")


def test_an_interrupted_program_says_so():
    program = "from ctan_monai.errors import install_excepthook\ninstall_excepthook()\nraise KeyboardInterrupt"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == "Interrupted.\n"
    assert done.returncode != 0


BEGIN = """
import logging, sys
from ctan_monai.errors import install_excepthook
logging.basicConfig(stream=sys.stdout, format="%(message)s")
install_excepthook()
"""


def test_a_program_whose_output_nobody_reads_any_more_goes_on_in_silence(tmp_path):
    code = f"{BEGIN}input()\nfor n in range(9): logging.error('line %d', n)\nopen('done', 'w').close()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, cwd=tmp_path) as process:
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (tmp_path / "done").exists()


def test_a_line_of_the_log_holds_no_traceback_of_what_is_explained(tmp_path):
    code = f"""{BEGIN}
for text in ("unable to allocate shared memory(shm)", "an unknown fault"):
    logging.error("ending: %s", RuntimeError("Caught in worker 0.\\nTraceback of " + text))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = ["ending: Caught in worker 0.", "ending: Caught in worker 0.", "Traceback of an unknown fault"]
    assert done.stdout.splitlines() == lines
