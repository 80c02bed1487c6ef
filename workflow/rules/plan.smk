# Runs and jobs as files, and who holds which rows.


rule plan:
    input:
        "config/config.yaml",
        CONFIG.study_files,
    output:
        manifest=f"{PLAN_FOLDER}/runs.csv",
        jobs=expand(f"{PLAN_FOLDER}/jobs/{{job}}.json", job=PLAN.jobs),
    log:
        f"logs/plan-{SCALE}.log",
    params:
        scale=SCALE,
        runs=RUNS,
    shell:
        "fewbits plan --scale {params.scale} --config config/config.yaml --results results > {log} 2>&1"


rule partition:
    output:
        "results/partitions/{partition}/indices.npz",
        "results/partitions/{partition}/summary.json",
    log:
        "logs/partition/{partition}.log",
    params:
        dataset=lambda w: PLAN.partitions[w.partition].dataset["name"],
        partition=lambda w: canonical(PLAN.partitions[w.partition].partition),
        seed=lambda w: PLAN.partitions[w.partition].seed,
        code=lambda w: fingerprint.of_modules(
            registry.find(
                "dataset", PLAN.partitions[w.partition].dataset["name"]
            ).__module__,
            registry.find(
                "partition", PLAN.partitions[w.partition].partition["name"]
            ).__module__,
        ),
    shell:
        "fewbits partition --dataset {params.dataset} --partition '{params.partition}'"
        " --seed {params.seed} --out results/partitions/{wildcards.partition} > {log} 2>&1"
