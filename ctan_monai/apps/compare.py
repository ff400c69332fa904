"""``ctan-monai compare``: train, evaluate and compare methods on one bundle, as the paper's Table 2 does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctan_monai.config_values import refuse_code
from ctan_monai.errors import ConfigError

if TYPE_CHECKING:
    from ctan_monai.apps.comparing.bundle import Bundle
    from ctan_monai.apps.comparing.plan import Plan, Run

EPILOG = """[bold]Examples[/]

  ctan-monai compare --bundle bundles/openkbp --methods stl,hps,mtan,ctan --seeds 5 --out comparison

  ctan-monai compare --bundle bundles/ham10000 --weighting equal,dwa --out comparison -- --dataset_dir HAM10000

  ctan-monai compare --bundle bundles/openkbp --methods stl,ctan --preset no_cross,no_ctab --out ablation
"""
_FAILED = 1
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": False}  # of the command, for what follows --


def compare(
    context: typer.Context,
    bundle: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the bundle.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the comparison; the same one continues it.")],
    methods: Annotated[str, typer.Option(help="Architectures, with commas; the first is what Delta refers to.")] = (
        "stl,hps,mtan,ctan"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each row, with seeds 0, 1, 2 ...; a verdict needs 5.")] = 5,
    first_seed: Annotated[
        int, typer.Option(min=0, help="Begin with this seed: what was chosen with some seeds is tested with others.")
    ] = 0,
    weighting: Annotated[str, typer.Option(help="Weightings, with commas; none: the bundle's.")] = "",
    preset: Annotated[str, typer.Option(help="Ablations, with commas, as further rows.")] = "",
    presets: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File of your own rows for --preset, see docs/compare.md."),
    ] = None,
    candidate: Annotated[str, typer.Option(help="Method to compare with the best of the others; none: the last.")] = "",
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validation with so many folds, the same for all rows and seeds.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side on this machine.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="Threads of each run; 0: the processors divided by --jobs.")] = 0,
    slurm: Annotated[
        str, typer.Option(help="Submit to a cluster instead: options of sbatch, as partition=gpu,time=240.")
    ] = "",
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write tables and pages at the end.")] = True,
) -> None:
    """Train, evaluate and compare methods on one bundle: the paper's Table 2, with statistics.

    Everything after -- goes to the bundle, as after `monai.bundle run`.

    What is finished is not done again; what was broken off is continued.
    """
    from ctan_monai.apps.comparing.bundle import Bundle, described
    from ctan_monai.apps.comparing.plan import Plan, began_before, kept_threads, save_plan
    from ctan_monai.apps.comparing.rows import make_rows

    refuse_code(str(out), "--out", "Write ./ before it.")
    names = _words(methods)
    made = Bundle(str(bundle), context.args)
    if folds is not None:
        made.check_folds(folds)
    rows = make_rows(made, names, _words(weighting), _words(preset), presets)
    if candidate and candidate not in names:
        raise ConfigError("--candidate", f"{candidate!r} is not among {names}.", "Name one of --methods.")
    plan = Plan(
        bundle=str(bundle),
        rows=rows,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        overrides=tuple(context.args),
        threads=threads or kept_threads(out) or max(1, (os.cpu_count() or 1) // jobs),
        reference=rows[0].name,
        candidate=candidate or names[-1],
        tasks=described(made.tasks),
        folds=folds,
        form={row.name: made.form_before(row.method, row.overrides) for row in rows} if began_before(rows, out) else {},
    )
    save_plan(plan, out)
    failed = _execute(plan, out, made, jobs, slurm)
    if report:
        _report(plan, out, made)
    if failed:
        raise typer.Exit(_FAILED)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _execute(plan: Plan, out: Path, made: Bundle, jobs: int, slurm: str) -> list[Run]:
    """Run what is not finished; log and return failed runs."""
    from ctan_monai.apps.comparing.folds import check_folds
    from ctan_monai.apps.comparing.runs import is_done, last_error, run_all
    from ctan_monai.apps.comparing.show import Progress
    from ctan_monai.files.lock import hold, release

    hold(out)
    try:
        runs = list(plan.runs(out))
        waiting = [run for run in runs if not is_done(run, "evaluating")]
        if waiting:
            made.fill_cache()
            check_folds(plan, out, made)
            made.make_store()
        with Progress(runs, out) as progress:
            if slurm:
                from ctan_monai.apps.comparing.slurm import submit_all

                failed = submit_all(waiting, plan.threads, out, slurm, progress)
            else:
                failed = run_all(waiting, jobs, plan.threads, progress)
    finally:
        release(out)
    for run in failed:
        typer.echo(f"{run.name} failed: {last_error(run)} (logs in {run.folder})", err=True)
    return failed


def _report(plan: Plan, out: Path, made: Bundle) -> None:
    """Compute naive baselines and costs, then write the report."""
    from ctan_monai.apps.comparing.collect import collect
    from ctan_monai.apps.comparing.runs import is_done
    from ctan_monai.report.compare_report import report_comparison

    done = [run for run in plan.runs(out) if is_done(run, "evaluating")]
    if done:
        collect(plan, out, made, done)
        typer.echo(f"{report_comparison(out)}")
