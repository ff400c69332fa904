"""The kind of processor is told, nothing else about the machine."""

import getpass
import platform
from pathlib import Path

import pytest

from ctan_monai.engines.runs.versions import describe_processor, lacks_bf16


@pytest.fixture(autouse=True)
def afresh():
    describe_processor.cache_clear()
    yield
    describe_processor.cache_clear()


def test_it_names_the_processor_its_features_and_onednn(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = describe_processor()
    assert found["cpu_limits"] == "ONEDNN_MAX_CPU_ISA=AVX2"
    assert found["cpu"]
    assert all(character.isdigit() or character == "." for character in found["onednn"])
    assert platform.node() not in " ".join(found.values())
    assert getpass.getuser() not in " ".join(found.values()).split()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="compared with what Linux says")
def test_features_are_those_that_the_system_lists():
    flags = set(Path("/proc/cpuinfo").read_text().replace("avx512f", "avx512_f").split())
    found = describe_processor()
    told = set(found["cpu_features"].split()) & {
        "avx2",
        "avx512_f",
        "avx512_vnni",
        "avx512_bf16",
        "amx_tile",
        "amx_bf16",
    }
    assert told <= flags
    assert found["cpu"] in Path("/proc/cpuinfo").read_text()
    if platform.machine() == "x86_64" and "avx2" in flags:
        assert lacks_bf16() == (not flags & {"avx512_bf16", "amx_bf16"})
