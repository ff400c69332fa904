import pkgutil

import pytest

from ctan_monai import engines


@pytest.mark.parametrize("name", engines.__all__)
def test_every_public_name_leads_to_something_defined_in_this_layer(name):
    assert getattr(engines, name).__module__ == f"ctan_monai.engines.{engines._PUBLIC[name]}"


def test_no_public_name_is_that_of_a_module_which_would_take_its_place_once_imported():
    modules = {module.name for module in pkgutil.iter_modules(engines.__path__)}
    assert not modules & set(engines.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="MultiTaskTraner"):
        _ = engines.MultiTaskTraner


def test_completion_lists_the_public_names():
    assert set(dir(engines)) == set(engines.__all__)
