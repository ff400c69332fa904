"""Texts of the files of a bundle for DICOM-RT: lines that are kept, goals, names."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

from ctan_monai.apps.new_parts import flow

WIDTH = 110  # of a line of YAML
_STRUCTURE = re.compile(r"^- \{structure: (\w+),")
_NAMES_HEAD = """# Names of structures in the data, by the name that they have here (TG-263). A structure that stands
# here is known by these names only; capitals, spaces, dots, hyphens and underscores do not count. /.../ is a regular
# expression, which the whole name must match. `ignore: [names]` passes names over.
"""


def marked(template: str, dose: bool) -> str:
    r"""Keep the lines of a template for a bundle with or without dose, and those for both.

    >>> marked("a\n{{dose}}b\n{{no_dose}}c\n", False)
    'a\nc\n'
    """
    kept, other = ("{{dose}}", "{{no_dose}}") if dose else ("{{no_dose}}", "{{dose}}")
    lines = [line.removeprefix(kept) for line in template.splitlines(keepends=True) if not line.startswith(other)]
    return "".join(lines)


def wrapped(line: str, indent: str = "  ") -> str:
    """Break a long line of YAML."""
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def goals_of(text: str, structures: Sequence[str]) -> str:
    r"""Keep of a file of goals those of some structures, with the comments before them; '' if it has none.

    >>> goals_of("goals:\n# a\n- {structure: A, goal: x}\n\n# b\n- {structure: B, goal: y}\n", ["B"])
    'goals:\n# b\n- {structure: B, goal: y}\n'
    """
    head, _, rest = text.partition("goals:\n")
    kept: list[str] = []
    for paragraph in rest.strip("\n").split("\n\n"):
        lines: list[str] = []
        notes: list[str] = []  # comments before the next goal
        goal_before = False
        for line in paragraph.splitlines():
            if not (found := _STRUCTURE.match(line)):
                notes = [line] if goal_before else [*notes, line]
            elif found[1] in structures:
                lines += [*notes, line]
                notes = []
            goal_before = found is not None
        kept += ["\n".join(lines)] if lines else []
    return head + "goals:\n" + "\n\n".join(kept) + "\n" if kept else ""


def names_file(mapping: Mapping[str, Sequence[str]]) -> str:
    """Return the text of a file of names, which ``names.read_mapping`` reads."""
    lines = [wrapped(f"{name}: {flow(list(names))}") for name, names in mapping.items()]
    return _NAMES_HEAD + "\n".join(lines) + "\n"
