# MLflow. One recorder process follows the runs' journals while the pipeline works (onstart); rule `record`
# completes and verifies. Training knows nothing of it, and a store that is down stops nothing: what is
# missing is said at the end and made up for by the next call, or by `fewbits sync`.


rule record:
    input:
        receipts(),
    output:
        "results/tracking/recorded.json",
    log:
        "logs/record.log",
    params:
        scale=SCALE,
        runs=RUNS,
    shell:
        # A record that could not be completed is no reason to fail: hooks.smk says so at the end.
        "fewbits sync --scale {params.scale} > {log} 2>&1 || test -s {output}"
