"""The folder of an app: bundle, run, scores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ctan_monai.errors import ConfigError
from ctan_monai.serve.origins import checked_origins

ABOUT = "app.json"
FORMAT = "ctan_monai label app 1"


@dataclass(frozen=True)
class AppFolder:
    """An app that `write_app` wrote.

    Args:
        root: its folder.
        bundle: name of the bundle.
        upload_mib: limit of a request's body, and of what a file in it unpacks to.
        origins: of web pages that may ask the server although it did not give them.
    """

    root: Path
    bundle: str
    upload_mib: float
    origins: tuple[str, ...] = ()

    @property
    def bundle_root(self) -> Path:
        """Folder of the bundle's configs."""
        return self.root / "bundle" / self.bundle

    @property
    def run_dir(self) -> Path:
        """Folder of the run: model.pt, run.json, settings.json."""
        return self.root / "run"

    @property
    def scores(self) -> Path:
        """File of the images' scores."""
        return self.root / "scores.json"


def read_app(root: str | Path) -> AppFolder:
    """Read the folder of an app.

    Raises:
        ConfigError: app.json is missing, damaged, or has a limit or an origin that is none.
    """
    path = Path(root) / ABOUT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, expected {FORMAT!r}")
        upload_mib = float(content["upload_mib"])
        if not upload_mib > 0:
            raise ValueError(f"upload_mib is {upload_mib}")
        origins = content.get("origins", [])
        if not isinstance(origins, list):
            raise ValueError(f"origins is {origins!r}, expected a list")
        return AppFolder(Path(root), str(content["bundle"]), upload_mib, tuple(checked_origins(origins)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "Write the app again with `python -m ctan_monai label-app`."
        raise ConfigError(str(path), f"it cannot be used ({error!r}).", remedy) from error
