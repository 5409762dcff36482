"""Jobs are really done by processes of this machine, of a Dask cluster and of SLURM."""

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import distributed
import pytest

from mmocnet.cli import main
from mmocnet.cohort import dask_cluster, local
from mmocnet.cohort.job import Job, run_job, stamp_of
from mmocnet.cohort.local import KILLED, WORKER_BYTES, machine_share, run_local
from mmocnet.cohort.record import read_outcome
from mmocnet.cohort.scans import find_scans
from mmocnet.cohort.settings import CohortSettings
from mmocnet.config import SegmentSettings
from mmocnet.errors import InputError
from mmocnet.io.dataset import read_tsv
from mmocnet.predict.outputs import read_part


def _rows(out: Path) -> dict[str, dict[str, str]]:
    return {row["participant_id"]: row for row in read_tsv(out / "cohort_scans.tsv")}


def _states(out: Path) -> list[str]:
    return [row["state"] for row in _rows(out).values()]


ALL_BUT_ONE = ["done", "done", "done", "failed"]


def _words(dataset: Path, out: Path, model: str, *more: str) -> list[str]:
    words = ["cohort", str(dataset), "-o", str(out), "--model", model, "--no-location"]
    return [*words, *more]


def test_processes_segment_all_scans_and_the_one_that_fails_is_told(
    dataset, tiny, tmp_path, capsys, bids_errors
):
    out = tmp_path / "out"
    assert main(_words(dataset, out, tiny, "--workers", "2", "--threads", "1")) == 2
    said = capsys.readouterr()
    assert "1 of 4 scans could not be segmented" in said.err
    assert "sub-04/anat/sub-04_swi.nii.gz: expected a NIfTI file, got other content" in said.err
    assert said.err.count(" 0 microbleeds, ") == 3
    assert "0 microbleeds in 3 scans" in said.out
    assert "Research use only - not a medical device" in said.out
    assert _states(out) == ALL_BUT_ONE
    rows = _rows(out)
    assert rows["sub-01"]["microbleeds"] == "0"
    assert rows["sub-04"]["microbleeds"] == "n/a"
    assert "expected a NIfTI file" in rows["sub-04"]["reason"]
    assert (out / rows["sub-01"]["report"]).is_file()
    assert bids_errors(out) == []


@pytest.fixture
def here(monkeypatch) -> None:
    """Jobs are done in this process, which is there already."""
    monkeypatch.setattr(
        "mmocnet.commands.cohort.run_local", lambda jobs, *_: (run_job(job) for job in jobs)
    )


@pytest.mark.usefixtures("here")
def test_what_is_done_is_not_done_again_and_what_failed_is_tried(
    dataset, tiny, tmp_path, capsys, write_head
):
    out = tmp_path / "out"
    main(_words(dataset, out, tiny))
    made = (out / "sub-01/anat/sub-01_desc-cmb_dseg.json").stat().st_mtime_ns
    write_head(dataset / "sub-04" / "anat" / "sub-04_swi.nii.gz", 4)
    (out / "sub-02/anat/sub-02_report.html").unlink()
    capsys.readouterr()
    assert main(_words(dataset, out, tiny)) == 0
    said = capsys.readouterr().err
    assert [name for name in ("sub-01", "sub-02", "sub-03", "sub-04") if name in said] == [
        "sub-02",
        "sub-04",
    ]
    assert _states(out) == ["done"] * 4
    assert (out / "sub-01/anat/sub-01_desc-cmb_dseg.json").stat().st_mtime_ns == made


@pytest.mark.usefixtures("here")
def test_results_of_other_settings_are_kept_unless_they_may_go(dataset, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    main(_words(dataset, out, tiny))
    assert main(_words(dataset, out, tiny, "--threshold", "0.9")) == 2
    assert "another threshold: choose another folder, or --overwrite" in capsys.readouterr().err
    assert _states(out) == ["failed"] * 4
    main(_words(dataset, out, tiny, "--threshold", "0.9", "--overwrite"))
    assert _states(out) == ALL_BUT_ONE
    assert _rows(out)["sub-01"]["threshold"] == "0.9"


@pytest.mark.usefixtures("here")
def test_results_that_are_gone_or_broken_are_made_again(dataset, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    main(_words(dataset, out, tiny))
    shutil.rmtree(out / "sub-01")
    (out / "sub-02/anat/sub-02_desc-cmb_dseg.json").unlink()
    (out / "sub-03/anat/sub-03_desc-cmb_dseg.nii.gz").write_bytes(b"")
    main(_words(dataset, out, tiny, "--tables-only"))
    assert _states(out) == ["failed"] * 4
    main(_words(dataset, out, tiny))
    assert _states(out) == ALL_BUT_ONE


@pytest.mark.usefixtures("here")
def test_a_label_file_that_is_none_costs_no_table(dataset, tiny, tmp_path):
    out = tmp_path / "out"
    main(_words(dataset, out, tiny))
    (out / "sub-01/anat/sub-01_desc-cmb_dseg.nii.gz").write_bytes(b"x")
    main(_words(dataset, out, tiny, "--tables-only"))
    assert _states(out) == ["failed", "done", "done", "failed"]


@pytest.mark.usefixtures("here")
def test_rows_of_one_scan_have_a_state_each_and_move_with_their_participant(
    dataset, tiny, tmp_path, capsys
):
    scan = "dataset/sub-01/anat/sub-01_swi.nii.gz"
    table = tmp_path / "scans.tsv"
    table.write_text(f"scan\tparticipant_id\tmask\n{scan}\tA\tn/a\n{scan}\tB\tnone.nii\n")
    out = tmp_path / "out"
    assert main(_words(table, out, tiny)) == 2
    assert _states(out) == ["done", "failed"]
    assert "none.nii" in _rows(out)["B"]["reason"]
    table.write_text(f"scan\tparticipant_id\n{scan}\tA1\n")
    assert main(_words(table, out, tiny)) == 0
    assert (out / "A1/sub-01/anat/sub-01_desc-cmb_dseg.tsv").is_file()


@pytest.mark.usefixtures("here")
def test_overwriting_goes_on_where_it_stopped(dataset, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    main(_words(dataset, out, tiny))
    words = _words(dataset, out, tiny, "--threshold", "0.9", "--overwrite")
    main([*words, "--share", "1/2"])
    capsys.readouterr()
    main(words)
    said = capsys.readouterr().err
    assert "sub-02" in said
    assert "sub-01" not in said
    assert [_rows(out)[f"sub-0{n}"]["threshold"] for n in (1, 2, 3)] == ["0.9"] * 3


def test_a_full_disk_ends_the_run(dataset, tiny, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise InputError("cannot write to 'anat'") from error

    monkeypatch.setattr("mmocnet.cohort.job.segment_file", full)
    begun = []
    monkeypatch.setattr(
        "mmocnet.commands.cohort.run_local",
        lambda jobs, *_: (begun.append(job) or run_job(job) for job in jobs),
    )
    assert main(_words(dataset, tmp_path / "out", tiny)) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert len(begun) == 1


def test_a_script_without_a_main_guard_is_told_at_once(dataset, tiny, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mmocnet import CohortSettings, SegmentSettings, segment_cohort\n"
        f"segment_cohort({str(dataset)!r}, {str(tmp_path / 'out')!r}, "
        f"SegmentSettings(model={tiny!r}), run=CohortSettings(workers=1))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the processes that segment could not start: a script calls" in done.stderr
    assert not list((tmp_path / "out").rglob("scan-*.json"))


def _jobs(dataset: Path, out: Path, model: str) -> list[Job]:
    settings = SegmentSettings(model=model, location=False)
    scans = find_scans(dataset, out).scans
    return [Job(scan, out, settings, stamp_of(scan, settings)) for scan in scans]


class _Killer(threading.Thread):
    """Kills this process's first children as they begin."""

    def __init__(self, most: int) -> None:
        super().__init__(daemon=True)
        self.killed: list[int] = []
        self.most = most
        self.end = False

    def run(self) -> None:
        while not self.end and len(self.killed) < self.most:
            for child in multiprocessing.active_children():
                if child.pid not in self.killed and len(self.killed) < self.most:
                    self.killed.append(child.pid)
                    child.kill()
            time.sleep(0.02)


def test_a_scan_whose_process_is_killed_is_done_at_the_end(dataset, tiny, tmp_path):
    jobs = _jobs(dataset, tmp_path / "out", tiny)[:3]
    killer = _Killer(1)
    killer.start()
    outcomes = list(run_local(jobs, 2, 1))
    assert len(killer.killed) == 1
    assert sorted(one.key for one in outcomes) == [job.scan.key for job in jobs]
    assert {one.state for one in outcomes} == {"done"}


def test_a_scan_that_kills_its_process_twice_has_failed(dataset, tiny, tmp_path):
    jobs = _jobs(dataset, tmp_path / "out", tiny)[:1]
    killer = _Killer(2)
    killer.start()
    (outcome,) = run_local(jobs, 1, 1)
    killer.end = True
    assert outcome.state == "failed"
    assert outcome.reason == f"sub-01_swi.nii.gz: {KILLED}"
    assert read_outcome(tmp_path / "out", jobs[0].scan)[0].state == "failed"


def test_processes_end_where_nobody_waits_for_them_any_more(dataset, tiny, tmp_path):
    before = set(multiprocessing.active_children())
    outcomes = run_local(_jobs(dataset, tmp_path / "out", tiny), 2, 1)
    next(outcomes)
    assert set(multiprocessing.active_children()) > before
    outcomes.close()
    assert set(multiprocessing.active_children()) == before


def test_a_phase_that_cannot_be_used_costs_no_scan(dataset, tmp_path):
    scan = find_scans(dataset, tmp_path / "out").scans[0]
    other = dataset / "sub-04" / "anat" / "sub-04_swi.nii.gz"
    scan = replace(scan, options=replace(scan.options, phase=other, phase_must_fit=False))
    settings = SegmentSettings(model="standard", location=False)
    outcome = run_job(Job(scan, tmp_path / "out", settings, stamp_of(scan, settings)))
    assert outcome.state == "done"
    (warning, *_) = read_part(scan.files, "Summary")["Warnings"]
    assert "the phase beside it is not used: expected a NIfTI file" in warning
    must = replace(scan, options=replace(scan.options, phase_must_fit=True))
    assert run_job(Job(must, tmp_path / "out", settings, "")).state == "failed"


@pytest.mark.usefixtures("here")
def test_shares_are_all_scans_once(dataset, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(_words(dataset, out, tiny, "--share", "1/2")) == 0
    assert not (out / "cohort_scans.tsv").exists()
    assert main(_words(dataset, out, tiny, "--tables-only")) == 0
    assert "2 of 4 scans wait: run again to segment them" in capsys.readouterr().out
    assert _states(out) == ["done", "waiting", "done", "waiting"]
    assert main(_words(dataset, out, tiny, "--share", "2/2")) == 2
    assert "1 of 2 scans could not be segmented" in capsys.readouterr().err
    main(_words(dataset, out, tiny, "--tables-only"))
    assert _states(out) == ALL_BUT_ONE


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "1/0", "a/b"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match="share must be K/N"):
        CohortSettings(share=share)


@pytest.mark.parametrize(
    "more",
    [
        ("--share", "1/2", "--slurm", "2"),
        ("--tables-only", "--dask", "tcp://x:1"),
        ("--sbatch=--mem=1G",),
        ("--dask", "tcp://x:1", "--workers", "2"),
        ("--slurm", "0"),
        ("--workers", "0"),
    ],
)
def test_options_that_would_be_ignored_are_refused(dataset, tiny, tmp_path, capsys, more):
    assert main(_words(dataset, tmp_path / "out", tiny, *more)) == 2
    assert "mmocnet cohort: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_machine_is_shared_out_by_cores_jobs_and_memory(monkeypatch):
    monkeypatch.setattr("mmocnet.cohort.local._memory_bytes", lambda _: 10 * WORKER_BYTES)
    eight = {"SLURM_CPUS_ON_NODE": "8"}
    assert machine_share(eight, 100) == (8, 1)
    assert machine_share(eight, 3) == (3, 2)
    assert machine_share(eight, 100, threads=4) == (2, 4)
    assert machine_share(eight, 100, workers=2) == (2, 4)
    assert machine_share(eight, 100, workers=20, threads=2) == (20, 2)
    assert machine_share({}, 1) == (1, len(os.sched_getaffinity(0)))
    monkeypatch.setattr("mmocnet.cohort.local._memory_bytes", lambda _: WORKER_BYTES // 2)
    assert machine_share(eight, 100) == (1, 8)


def test_the_memory_of_a_container_or_a_job_counts(tmp_path, monkeypatch):
    four = {"SLURM_CPUS_ON_NODE": "4"}
    monkeypatch.setattr(local, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(local, "CGROUPS", tmp_path / "groups")
    free = min(4, local._memory_bytes({}) // WORKER_BYTES)
    assert machine_share(four, 9)[0] == free
    job = four | {"SLURM_MEM_PER_NODE": str(WORKER_BYTES // 2**20 + 1)}
    assert machine_share(job, 9) == (1, 4)
    (tmp_path / "cgroup").write_text("0::/jobs/one\n")
    (tmp_path / "groups" / "jobs" / "one").mkdir(parents=True)
    (tmp_path / "groups" / "jobs" / "memory.max").write_text(f"{WORKER_BYTES}\n")
    (tmp_path / "groups" / "jobs" / "one" / "memory.max").write_text("max\n")
    assert machine_share(four, 9) == (1, 4)


@pytest.fixture
def scheduler():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning")
def test_a_dask_cluster_segments_all_scans(dataset, tiny, tmp_path, scheduler, capsys, monkeypatch):
    out = tmp_path / "out"
    assert main(_words(dataset, out, tiny, "--dask", scheduler)) == 2
    assert _states(out) == ALL_BUT_ONE
    assert "expected a NIfTI file" in capsys.readouterr().err
    monkeypatch.setattr(dask_cluster, "__version__", "9.9")
    assert main(_words(dataset, out, tiny, "--dask", scheduler)) == 2
    assert "expected workers with mmocnet 9.9, got 0.1.0" in capsys.readouterr().err


def test_a_dask_scheduler_that_does_not_answer_is_told(
    dataset, tiny, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 1)
    words = _words(dataset, tmp_path / "out", tiny, "--dask", "tcp://127.0.0.1:1")
    assert main(words) == 2
    assert "expected a Dask scheduler at 'tcp://127.0.0.1:1'" in capsys.readouterr().err


def test_a_slurm_array_segments_all_scans(dataset, tiny, tmp_path, slurm, capsys, monkeypatch):
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "out of it"
    words = _words(dataset, out, tiny, "--slurm", "2", "--sbatch=--cpus-per-task=1 --comment='a b'")
    assert main(words) == 2
    said = capsys.readouterr()
    assert "4 scans in 2 tasks" in said.out
    assert "1 of 4 scans could not be segmented" in said.err
    assert _states(out) == ALL_BUT_ONE
    assert len(list((out / "logs").glob("slurm-*-*.txt"))) == 2
    # A job whose tasks cannot work has not done it.
    bad = tmp_path / "bad" / "mmocnet"
    bad.mkdir(parents=True)
    (bad / "__init__.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(bad.parent))
    assert main([*words[:2], "-o", str(tmp_path / "other"), *words[4:-1]]) == 2
    said = capsys.readouterr().err
    assert "4 of 4 scans were not segmented: run again" in said
    assert str(tmp_path / "other" / "logs") in said
    # SLURM's own refusal is told.
    assert main([*words[:-1], "--sbatch=--partition=nowhere"]) == 2
    assert "SLURM did not take the job: " in capsys.readouterr().err


def test_slurm_that_is_not_here_is_told(dataset, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(_words(dataset, tmp_path / "out", tiny, "--slurm", "2")) == 2
    assert "--slurm needs the commands of SLURM" in capsys.readouterr().err
