# The PDF.


rule provenance:
    input:
        "config/config.yaml",
        CONFIG.study_files,
        receipts(),
    output:
        f"results/{SCALE}/provenance.json",
    log:
        f"logs/provenance-{SCALE}.log",
    params:
        scale=SCALE,
        runs=RUNS,
        code=fingerprint.of_analysis(
            "fewbits.report.build", "fewbits.report.provenance"
        ),
    shell:
        "fewbits provenance --scale {params.scale} > {log} 2>&1"


rule report:
    input:
        "reports/report.typ",
        "reports/template.typ",
        "reports/references.bib",
        provenance=rules.provenance.output,
        claims=expand(f"results/{SCALE}/{{study}}/claims.csv", study=STUDIES),
        figures=[path for study in STUDIES for path in figure_files(study)],
        tables=[path for study in STUDIES for path in table_files(study)],
    output:
        REPORT,
    log:
        f"logs/report-{SCALE}.log",
    params:
        scale=SCALE,
        text=digest("".join(canonical(study.document) for study in STUDIES.values())),
        code=fingerprint.of_analysis("fewbits.report.build"),
    shell:
        "fewbits report --scale {params.scale} --out {output} > {log} 2>&1"
