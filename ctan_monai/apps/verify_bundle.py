"""Find out from a bundle's config which data it is trained on, and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctan_monai.aliases import current_names
from ctan_monai.config_values import refuse_code
from ctan_monai.data.datasets.tabular.checks import Checked, check_items, check_table
from ctan_monai.data.datasets.tabular.datalist import find_table
from ctan_monai.data.datasets.tabular.layout import as_layout
from ctan_monai.errors import ConfigError, find_ctan_error

_OWN = ("ctan_monai.data.tabular_datalist", "ctan_monai.data.datasets.tabular.")
_LAYOUT = ("image_channels", "spatial_dims", "size", "spacing_mm", "axes", "label_values")


def check_bundle(bundle: Path, datalist: Path | None, dataset_dir: Path | None) -> Checked:
    """Check the data that a bundle's training would get.

    Args:
        bundle: its folder.
        datalist: as its option.
        dataset_dir: as its option.

    Raises:
        ConfigError: it is no bundle whose config lists cases.
        DataError: the table, or the data set, as a whole cannot be used.
    """
    from monai.bundle import ConfigParser

    path = bundle / "configs" / "train.yaml"
    if not path.is_file():
        raise ConfigError("--bundle", f"{bundle} has no configs/train.yaml.", "Name the folder of a bundle.")
    parser = ConfigParser()
    parser.read_config(str(path))
    parser["bundle_root"] = str(bundle.resolve())
    for name, value in (("datalist", datalist), ("dataset_dir", dataset_dir)):
        if value is not None:
            if name not in parser.config:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(option, f"{path} has no such option.", "Leave it out.")
            refuse_code(str(value), f"--{name.replace('_', '-')}", "Write ./ before it.")
            parser[name] = str(value)
    try:
        return _check(parser, path)
    except (RuntimeError, ValueError, KeyError) as error:  # MONAI wraps what a component raised
        found = find_ctan_error(error)
        if found is None:
            reason = f"it cannot be understood ({type(error).__name__}: {error})."
            raise ConfigError(str(path), reason, "Correct it.") from error
        raise found from None


def _check(parser: Any, path: Path) -> Checked:
    lists = parser.config.get("datalists", {})
    if not isinstance(lists, dict) or "tasks" not in parser.config:
        raise ConfigError(str(path), "it lists no datalists and tasks.", "Check the data of another bundle.")
    tasks = parser.get_parsed_content("tasks")
    if not current_names(str(lists.get("_target_", ""))).startswith(_OWN):
        return check_items(parser.get_parsed_content("datalists"), tasks)
    given = {name: parser.get_parsed_content(f"datalists#{name}") for name in lists if not name.startswith("_")}
    layout = as_layout(tasks, **{name: given[name] for name in _LAYOUT if name in given})
    folder = given.get("dataset_dir")
    table, _ = find_table(given.get("datalist"), folder, given["cache_dir"], layout, given.get("sample", "ct"))
    return check_table(table, folder, layout, given.get("fold", 0))
