# From runs to numbers: one table, claims with verdicts, figures, tables.


rule collect:
    input:
        lambda w: receipts(w.study),
    output:
        runs=f"results/{SCALE}/{{study}}/runs.csv",
        metrics=f"results/{SCALE}/{{study}}/metrics.csv",
    log:
        f"logs/collect/{SCALE}-{{study}}.log",
    priority: FIRST
    params:
        scale=SCALE,
        runs=lambda w: digest(
            " ".join(f"{r.id} {r.grids}" for r in PLAN.runs_of(w.study))
        ),
        code=fingerprint.of_analysis("fewbits.analysis.collect"),
    shell:
        "fewbits collect --study {wildcards.study} --scale {params.scale} > {log} 2>&1"


rule measure:
    input:
        lambda w: receipts(w.study),
    output:
        f"results/{SCALE}/{{study}}/operators.csv",
    log:
        f"logs/measure/{SCALE}-{{study}}.log",
    priority: FIRST
    threads: 1
    resources:
        runtime=lambda w, attempt: attempt * 240,
        mem_mb=lambda w, attempt: attempt * 4000,
    params:
        scale=SCALE,
        runs=lambda w: digest(" ".join(r.id for r in PLAN.runs_of(w.study))),
        operators=lambda w: digest(operators(w.study, labels=False)),
        code=lambda w: code_of_operators(w.study),
    shell:
        "fewbits measure --study {wildcards.study} --scale {params.scale} > {log} 2>&1"


rule spectra:
    input:
        lambda w: receipts(w.study),
    output:
        f"results/{SCALE}/{{study}}/spectra.csv",
    log:
        f"logs/spectra/{SCALE}-{{study}}.log",
    priority: FIRST
    params:
        scale=SCALE,
        runs=lambda w: digest(" ".join(r.id for r in PLAN.runs_of(w.study))),
        code=fingerprint.of_analysis("fewbits.spectra"),
    shell:
        "fewbits spectra --study {wildcards.study} --scale {params.scale} > {log} 2>&1"


rule judge:
    input:
        rules.collect.output,
        lambda w: measured(w.study),
    output:
        report(
            f"results/{SCALE}/{{study}}/claims.csv",
            caption="../report/claims.rst",
            category="{study}",
        ),
    log:
        f"logs/judge/{SCALE}-{{study}}.log",
    priority: FIRST
    params:
        scale=SCALE,
        claims=lambda w: digest(section(w.study, "claims")),
        code=fingerprint.of_analysis("fewbits.analysis.claims"),
    shell:
        "fewbits judge --study {wildcards.study} --scale {params.scale} > {log} 2>&1"


# All figures and tables of a study in one job: starting Python with matplotlib costs more than drawing one.
for study in STUDIES:

    rule:
        name:
            f"draw_{study}"
        input:
            f"results/{SCALE}/{study}/runs.csv",
            f"results/{SCALE}/{study}/metrics.csv",
            published_files(study),
            measured(study),
        output:
            figure_files(study, ("pdf", "svg")),
            report(
                figure_files(study, ("png",)),
                caption="../report/figure.rst",
                category=study,
            ),
            table_files(study),
        log:
            f"logs/draw/{SCALE}-{study}.log",
        priority: FIRST
        localrule: True
        params:
            scale=SCALE,
            study=study,
            figures=digest(section(study, "figures")),
            tables=digest(section(study, "tables")),
            labels=digest(operators(study, labels=True)),
            code=lambda w, study=study: code_of_drawing(study),
        shell:
            "fewbits draw --study {params.study} --scale {params.scale} > {log} 2>&1"
