# What happens around the jobs: a lock, the jobs' files, the recorder, and what is said at the end.

import json
import os
import subprocess

HELD = []  # the lock, for as long as this process lives
RECORDED = Path("results/tracking/recorded.json")


def run_lock():
    """One pipeline a folder. Unlike Snakemake's own lock, this one ends with the process that holds it."""
    from filelock import FileLock, Timeout

    Path(".snakemake").mkdir(exist_ok=True)
    lock = FileLock(".snakemake/fewbits.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkflowError(
            "another Snakemake is running in this folder; wait for it to end"
        )
    return lock


def start_recorder():
    log = Path("logs/recorder.log")
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as out:
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fewbits.cli",
                "watch",
                "--parent",
                str(os.getpid()),
            ],
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C ends training; the recorder sees that and makes a last pass
        )


def finish_record():
    """Say how the record went; an incomplete one is removed, so that the next call makes it up."""
    if RECORDED.exists():
        recorded = json.loads(RECORDED.read_text())
        if not recorded["complete"]:
            RECORDED.unlink()
            print(
                f"MLflow's record is incomplete: {recorded['problem']}\n"
                "All results are complete. The next call makes the record up, or: fewbits sync",
                file=sys.stderr,
            )


def end_pods():
    """Of a pipeline that was interrupted, the Kubernetes Jobs that still run: Snakemake does not cancel those whose status it is
    asking for at that moment."""
    left = sorted(Path(".snakemake/kubernetes").glob("fewbits-*"))
    if left:
        subprocess.run(["profiles/kubernetes/cancel", *[path.name for path in left]])
    for path in left:
        path.unlink()


onstart:
    HELD.append(run_lock())
    studies.write_jobs(PLAN, f"results/{SCALE}/plan/jobs")
    start_recorder()


onsuccess:
    finish_record()


onerror:
    end_pods()
    finish_record()
