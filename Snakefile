# fewbits: partition -> train -> collect -> judge, draw -> report, with every run recorded in MLflow.
# Reading the configuration and all studies, and planning their runs, happens here, before any job.

import sys

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/tracking.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/hooks.smk"


# Where jobs go to a cluster, these stay: moments of work, and MLflow's store, which only one machine may write.
localrules:
    all,
    plan,
    partition,
    pictures,
    collect,
    judge,
    provenance,
    report,
    record,


rule all:
    default_target: True
    input:
        REPORT,
        f"results/{SCALE}/plan/runs.csv",
        f"results/{SCALE}/pictures.json",
        receipts(),  # as targets, since Snakemake does not miss an intermediate file that is gone
        "results/tracking/recorded.json",
