"""Commands from runs to the report: tables, claims, figures, the PDF."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.options import of_pipeline, of_study, path_option, planned, settings, study_at


@click.command()
@of_study
def collect(study: str, config: Path, scale: str | None, results: Path) -> None:
    """Gather a study's runs into two tables."""
    from fewbits import studies
    from fewbits.analysis.collect import collect

    chosen, loaded, folder = study_at(config, scale, results, study)
    runs = studies.manifest(studies.plan(chosen, [loaded]))
    for path in collect(runs, study, results / "runs", folder):
        click.echo(path)


@click.command()
@of_study
def measure(study: str, config: Path, scale: str | None, results: Path) -> None:
    """Apply a study's operators to the snapshots of its runs.

    Error and bits of every compressor on every snapshot: operators.csv.
    """
    from fewbits.measure import measure
    from fewbits.studies.operators import sized

    chosen, loaded, folder = study_at(config, scale, results, study)
    wanted = loaded.operators
    if wanted is None:
        raise ValueError(f"study {study}: has no operators; nothing to measure")
    places = (results / "runs", folder / "operators.csv")
    runs = loaded.runs(chosen.scale)
    click.echo(measure(sized(wanted), wanted.draws, wanted.least, runs, *places, click.echo))


@click.command()
@of_study
def spectra(study: str, config: Path, scale: str | None, results: Path) -> None:
    """Gather the spectra of representations in the snapshots of a study's runs: spectra.csv."""
    from fewbits.spectra import gather, kept

    chosen, loaded, folder = study_at(config, scale, results, study)
    runs = [run for run in loaded.runs(chosen.scale) if kept(run.spec)]
    if not runs:
        raise ValueError(
            f"study {study}: keeps no spectra at scale '{chosen.scale}'; nothing to gather"
        )
    click.echo(gather(runs, results / "runs", folder / "spectra.csv"))


@click.command()
@of_study
def judge(study: str, config: Path, scale: str | None, results: Path) -> None:
    """Check a study's claims: claims.csv."""
    from fewbits.analysis.claims import judge_folder

    chosen, loaded, folder = study_at(config, scale, results, study)
    click.echo(judge_folder(loaded.document, chosen.scale, folder))


@click.command()
@of_study
@click.option("--figure", help="Only this figure.")
@click.option("--tables", is_flag=True, help="Only the tables.")
def draw(study: str, figure, tables: bool, config: Path, scale, results: Path) -> None:
    """Draw a study's figures and tables.

    Figures as PDF, SVG and PNG, tables as CSV and LaTeX.
    """
    from fewbits.analysis.draw import draw_figure
    from fewbits.analysis.tabulate import draw_table

    chosen, loaded, folder = study_at(config, scale, results, study)
    figures = (
        [figure] if figure else [] if tables else [f.id for f in loaded.figures_at(chosen.scale)]
    )
    wanted = [] if figure else [t.id for t in loaded.tables_at(chosen.scale)]
    for name in figures:
        click.echo("\n".join(map(str, draw_figure(loaded.document, name, folder))))
    for name in wanted:
        click.echo("\n".join(map(str, draw_table(loaded.document, name, folder))))


@click.command()
@of_pipeline
def provenance(config: Path, scale: str | None, results: Path) -> None:
    """Write down versions, machine and times.

    To RESULTS/SCALE/provenance.json, for the report's last pages.
    """
    from fewbits.files import write_json
    from fewbits.report.provenance import collect_provenance

    chosen, _, _ = planned(config, scale, results)
    folder = results / chosen.scale
    files = [config, *chosen.study_files]
    facts = collect_provenance(chosen.scale, files, folder / "plan" / "runs.csv", results / "runs")
    write_json(folder / "provenance.json", facts)
    click.echo(folder / "provenance.json")


@click.command("so-far")
@of_pipeline
@click.option("--study", multiple=True, help="Only this study; may be given several times.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The PDF. [default: reports/report-SCALE-so-far.pdf]",
)
def so_far(config: Path, scale: str | None, results: Path, study: tuple[str, ...], out) -> None:
    """Report on what is done so far.

    While a pipeline of hours runs, or after it was stopped: of every study the grids that are done whole. Figures, tables and
    claims go to RESULTS/SCALE-so-far/; the pipeline's own results are not touched.
    """
    from fewbits.so_far import so_far
    from fewbits.studies import load_config, load_study

    chosen = settings(config, scale)
    if study:
        chosen = load_config(config, {"scale": chosen.scale, "studies": list(study)})
    loaded = [load_study(path) for path in chosen.study_files]
    out = out or Path("reports") / f"report-{chosen.scale}-so-far.pdf"
    click.echo(so_far(chosen, loaded, results, out, click.echo))


@click.command()
@of_pipeline
@path_option("--out", Path("reports/report.pdf"), "The PDF.")
@click.option("--png", type=click.Path(path_type=Path), help="Instead: one page as a picture.")
@click.option("--page", default=1, show_default=True, help="Which page, with --png.")
def report(config: Path, scale: str | None, results: Path, out: Path, png, page: int) -> None:
    """Typeset the PDF report."""
    from fewbits.files import read_json
    from fewbits.report.build import build, page_png
    from fewbits.studies import load_study

    chosen = settings(config, scale)
    studies = [load_study(path) for path in chosen.study_files]
    folder = results / chosen.scale
    inputs = (studies, chosen.scale, folder, read_json(folder / "provenance.json"))
    click.echo(page_png(*inputs, png, page) if png else build(*inputs, out))
