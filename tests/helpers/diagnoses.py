"""A diagnosis of a network of two tasks, with numbers that a person chose."""

NAN = float("nan")
MAIN = {
    "organ": {"key": "organ_dice", "label": "Dice", "unit": "%", "factor": 100.0, "higher_is_better": True},
    "grade": {
        "key": "grade_balanced_accuracy",
        "label": "balanced accuracy",
        "unit": "%",
        "factor": 100.0,
        "higher_is_better": True,
    },
}


def experiment(part, kind, task, replacement, organ, grade, shares=None):
    """Describe an exchange; ``organ`` and ``grade`` are change, low, high as fractions."""
    metrics, answers = {}, {}
    for (name, metric), (change, low, high) in zip(MAIN.items(), (organ, grade), strict=True):
        metrics[metric["key"]] = {"value": 0.8 + change, "change": change, "low": low, "high": high}
        answers[name] = "unknown" if low != low else "worse" if high < 0 else "no change shown"
    return {
        **{"part": part, "kind": kind, "task": task, "replacement": replacement},
        **{"answers": answers, "variance_share": shares or {}, "metrics": metrics},
    }


def make_diagnosis(cross=-0.05):
    """Make a diagnosis in which the organ's query acts, the grade's is idle, and what crosses costs ``cross`` Dice."""
    none = (0.0, 0.0, 0.0)
    other = "another case's"
    experiments = [
        experiment("the whole image", "image", None, other, (-0.4, -0.5, -0.3), (-0.3, -0.4, -0.2), {"organ": 0.98}),
        experiment("query of organ", "query", "organ", other, (-0.2, -0.3, -0.1), none, {"organ": 0.25, "grade": 0.0}),
        experiment("query of grade", "query", "grade", other, none, (0.0, -0.01, 0.01), {"organ": 0.0, "grade": 0.002}),
        experiment(
            *("other tasks' features in all tasks", "cross", None, other),
            *((cross, cross - 0.02, cross + 0.02), (0.001, -0.02, 0.03), {"organ": 0.03, "grade": 0.01}),
        ),
        experiment("masks of all tasks", "mask", None, "0.5", (0.01, -0.01, 0.03), (NAN, NAN, NAN)),
    ]
    mask = {"mask": "organ, stage 1", "mean": 0.5, "standard_deviation": 0.2, "spread_over_cases": 0.05}
    return {
        "method": "ctan",
        "encoder": "resnet18",
        "applies": True,
        "options": {"split": "test", "seed": 0, "draws": 500},
        "cases": 24,
        "clusters": 20,
        "main": MAIN,
        "metrics": {"organ_dice": 0.8, "grade_balanced_accuracy": 0.7},
        "experiments": experiments,
        "features": [
            {
                **{"features": "P^4", "task": None, "channels": 512, "observations": 336},
                **{"rank": 14.25, "rank_standardized": 18.0, "largest_share": 0.334},
            }
        ],
        "masks": [{**mask, "share_below_0.1": 0.0, "share_above_0.9": 0.1, "histogram": [0.05] * 20}],
        "gradients": [
            {
                "layer": "weights of stem",
                "norm": {"organ": 0.5, "grade": 2.0},
                "cosine": {"organ and grade": -0.25},
                "cosine_by_batch": {"organ and grade": [-0.5, 0.0]},
            }
        ],
        "per_case": [{"part": "none", "replaced by": "nothing", "case": "=c1", "organ_dice": 0.8}],
    }
