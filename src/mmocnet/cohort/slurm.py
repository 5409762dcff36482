"""Run a cohort's shares as a job array of SLURM."""

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmocnet.cohort.record import LOGS
from mmocnet.errors import DependencyError, InputError, MmocnetError
from mmocnet.io.dataset import write_text

SCRIPT, NUMBER = "slurm.sh", "slurm-job.txt"
SHARE = "$SLURM_ARRAY_TASK_ID"
"""Number of a task, as the shell of a job has it."""

_JOB = re.compile(r"[0-9]+")


@contextmanager
def submitted(
    command: Sequence[str], shares: int, options: Sequence[str], out: Path
) -> Iterator[str]:
    """Submit a command once for each share, give the job's number, and wait for the job's end.

    Args:
        command: Words; "K" in the one that follows `--share` becomes the number of the task.
        shares: Tasks, numbered from 1.
        options: Of sbatch.
        out: Folder of the cohort's results; the script and what tasks print go into its `LOGS`.

    Raises:
        DependencyError: If there is no sbatch here.
        InputError: If an array of this cohort still runs.
        MmocnetError: If SLURM does not take it.
    """
    if shutil.which("sbatch") is None:
        raise DependencyError("--slurm needs the commands of SLURM, sbatch is not here")
    logs = (out / LOGS).absolute()
    _check_idle(logs / NUMBER)
    script = logs / SCRIPT
    write_text(script, script_text(command, shares, logs))
    with (
        script.open(encoding="utf-8") as lines,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints,
        # Read from the standard input, so that nothing is done with the script's name.
        subprocess.Popen(
            ["sbatch", "--parsable", "--wait", *options],
            stdin=lines,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as waiting,
    ):
        found = _JOB.match(waiting.stdout.readline() if waiting.stdout else "")
        if found is None:
            waiting.wait()
            complaints.seek(0)
            said = " ".join(complaints.read().split())
            raise MmocnetError(f"SLURM did not take the job: {said}")
        write_text(logs / NUMBER, f"{found[0]}\n")
        # Leaving the block waits for the program, which ends with the array.
        yield found[0]


def script_text(command: Sequence[str], shares: int, logs: Path) -> str:
    """Return the script of a job array; what sbatch is told on its line comes before it.

    >>> print(script_text(["mmocnet", "--share", "K/2"], 2, Path("/out/logs")))
    #!/bin/sh
    #SBATCH --job-name=mmocnet
    #SBATCH --array=1-2
    #SBATCH --output="/out/logs/slurm-%A-%a.txt"
    exec mmocnet --share "$SLURM_ARRAY_TASK_ID"/2
    <BLANKLINE>
    """
    words = [shlex.quote(word) for word in command]
    at = list(command).index("--share") + 1
    words[at] = f'"{SHARE}"/{shares}'
    return "\n".join(
        [
            "#!/bin/sh",
            "#SBATCH --job-name=mmocnet",
            f"#SBATCH --array=1-{shares}",
            f'#SBATCH --output="{logs}/slurm-%A-%a.txt"',
            f"exec {' '.join(words)}",
            "",
        ]
    )


def _check_idle(number: Path) -> None:
    """Refuse to begin while the array before this one runs."""
    try:
        found = _JOB.match(number.read_text(encoding="utf-8"))
    except OSError:
        return
    if found is None:
        return
    done = subprocess.run(
        ["squeue", "--noheader", "--jobs", found[0]], capture_output=True, text=True, check=False
    )
    # SLURM forgets old jobs, and then says that the id is none.
    if done.returncode == 0 and done.stdout.strip():
        raise InputError(
            f"job {found[0]} of this cohort still runs: wait for it, or scancel {found[0]}"
        )
