"""Act as macOS and Windows do: processes are spawned, and modules of Unix are absent (fcntl, grp, pwd, resource).

    python tests/helpers/other_system.py imports
    python tests/helpers/other_system.py MODULE [ARGUMENTS]

The first imports every module of the package and prints those that fail; the second runs a module, as python -m does.
A spawned process imports this file again, so that it lacks these modules too.
"""

import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import runpy
import sys

ABSENT = ("fcntl", "grp", "pwd", "resource")


class NotHere:
    """Refuse what other systems lack."""

    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            raise ModuleNotFoundError(name)


def imports():
    """Import every module; return those that fail."""
    import ctan_monai

    failed = []
    for found in pkgutil.walk_packages(ctan_monai.__path__, "ctan_monai."):
        if found.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(found.name)
        except ImportError as error:
            failed.append(f"{found.name}: {error}")
    return failed


with contextlib.suppress(ImportError):  # for Linux it needs resource, for other systems it does not
    import psutil  # noqa: F401
for absent in ABSENT:
    sys.modules.pop(absent, None)
multiprocessing.context._concrete_contexts.pop("fork", None)
for name in ("fork", "forkpty", "wait3", "wait4"):
    os.__dict__.pop(name, None)
sys.meta_path.insert(0, NotHere())
os.environ.setdefault("USERNAME", "nobody")  # which Windows sets, as it has no pwd to ask

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    if sys.argv[1] == "imports":
        sys.exit("\n".join(imports()) or 0)
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__")
