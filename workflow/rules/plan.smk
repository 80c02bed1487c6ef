# Who holds which rows; and, for people to read, all runs and jobs as files.


# Nothing depends on these files: every step plans for itself, in a moment, and rules take what they need of
# the plan as parameters. So a study file that changed in a caption runs nothing again.
rule plan:
    input:
        "config/config.yaml",
        CONFIG.study_files,
    output:
        update(f"results/{SCALE}/plan/runs.csv"),
    log:
        f"logs/plan-{SCALE}.log",
    params:
        scale=SCALE,
        runs=RUNS,
    shell:
        "fewbits plan --scale {params.scale} > {log} 2>&1"


# All partitions of a study in one job, which leaves those that are up to date as they are. Its output is a receipt.
rule partition:
    output:
        f"results/{SCALE}/partitioned/{{study}}.json",
    log:
        f"logs/partition/{SCALE}-{{study}}.log",
    params:
        scale=SCALE,
        partitions=lambda w: digest(
            " ".join(part.id for part in PLAN.partitions_of(w.study))
        ),
        code=lambda w: code_of_partitions(w.study),
    shell:
        "fewbits partition --study {wildcards.study} --scale {params.scale}"
        " --receipt {output} > {log} 2>&1"


# All in one job, after everything that training waits for: starting Python costs more than drawing.
rule pictures:
    input:
        expand(f"results/{SCALE}/partitioned/{{study}}.json", study=STUDIES),
    output:
        f"results/{SCALE}/pictures.json",
    log:
        f"logs/pictures-{SCALE}.log",
    priority: -1
    params:
        scale=SCALE,
        code=fingerprint.of_analysis("fewbits.partition.picture"),
    shell:
        "fewbits pictures --scale {params.scale} --receipt {output} > {log} 2>&1"
