# One job trains many runs in one process, from the plan's file of that job (written at the start, hooks.smk). Its output is a receipt: the digests of its runs'
# results. Runs that are up to date are skipped inside, so a job that runs again because a seed was added, or
# after a kill, trains only what is missing.


rule train:
    input:
        lambda w: f"results/{SCALE}/partitioned/{PLAN.jobs[w.job].study}.json",
    output:
        f"results/{SCALE}/trained/{{job}}.json",
    log:
        "logs/train/{job}.log",
    benchmark:
        "logs/train/{job}.benchmark.tsv"
    # In the order of the plan: whoever stops after an hour has the first studies, and the first grids of a study, whole.
    priority: lambda w: ORDER[w.job]
    # One thread each. Of more places than processors (`--cores 8` on a laptop of two) a job takes several, since training
    # jobs that share a processor's cache take longer; a few places are left for the moments of work between them.
    threads: SHARE
    resources:  # for schedulers that want to know; more at each new attempt
        runtime=lambda w, attempt: attempt * PLAN.jobs[w.job].minutes,
        mem_mb=lambda w, attempt: attempt * 2000,
        gpu=int(CONFIG.device != "cpu"),
    params:
        scale=SCALE,
        device=CONFIG.device,
        runs=lambda w: digest(" ".join(sorted(r.id for r in PLAN.jobs[w.job].runs))),
        code=lambda w: code_of_runs(PLAN.jobs[w.job].runs),
    shell:
        "fewbits train --job results/{params.scale}/plan/jobs/{wildcards.job}.json --out results/runs"
        " --partitions results/partitions --receipt {output} > {log} 2>&1"
