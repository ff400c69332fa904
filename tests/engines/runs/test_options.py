import pytest

from ctan_monai.engines.runs.options import as_bool
from ctan_monai.errors import ConfigError


@pytest.mark.parametrize("typed", [True, 1, "true", "True", "TRUE", " yes ", "on", "1"])
def test_true_in_every_spelling(typed):
    assert as_bool(typed, "amp") is True


@pytest.mark.parametrize("typed", [False, 0, "false", "False", "no", "off", "0"])
def test_false_in_every_spelling_also_as_the_string_that_python_takes_for_true(typed):
    assert as_bool(typed, "amp") is False


@pytest.mark.parametrize("typed", ["maybe", "", None, 2, "none"])
def test_anything_else_is_an_error_that_names_the_switch(typed):
    with pytest.raises(ConfigError, match="amp"):
        as_bool(typed, "amp")
