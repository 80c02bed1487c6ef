"""Study files: read (`reading`), check (`schema`, `checks`), expand into runs (`expand`) and plan (`plan`).

Everything here loads in a fraction of a second: no torch, pandas, mlflow, scipy or scikit-learn, so that
Snakemake can parse and check studies at every start.
"""

from fewbits.studies.errors import StudyError
from fewbits.studies.files import Config, check_files, load_config, load_study
from fewbits.studies.one_run import read_run
from fewbits.studies.plan import Plan, manifest, plan, write_jobs, write_plan
from fewbits.studies.runs import Run, flat
from fewbits.studies.schema import SCALES, Study

__all__ = [
    "SCALES",
    "Config",
    "Plan",
    "Run",
    "Study",
    "StudyError",
    "check_files",
    "flat",
    "load_config",
    "load_study",
    "manifest",
    "plan",
    "read_run",
    "write_jobs",
    "write_plan",
]
