from pathlib import Path

import pytest

import mmocnet
from mmocnet.config import TrainSettings
from mmocnet.errors import InputError
from mmocnet.train.run_folder import check_run_folder


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_a_folder_without_a_run_may_be_begun(tmp_path: Path, command: str) -> None:
    check_run_folder(tmp_path / "run", command)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "held", "told"),
    [
        ("train", ["replay"], "for a training, got 'run', which holds a fine-tuning"),
        ("finetune", ["scans.json"], "for a fine-tuning, got 'run', which holds a training"),
        ("train", ["model"], "which holds another model"),
        ("finetune", ["model"], "which holds another model"),
        ("finetune", ["replay", "model"], "which holds the model to start from"),
        ("train", ["scans.json", "model"], "which holds the model to start from"),
    ],
)
def test_a_folder_of_another_run_is_refused(
    tmp_path: Path, command: str, held: list[str], told: str
) -> None:
    for name in held:
        (tmp_path / "run" / name).mkdir(parents=True)
    start = tmp_path / "run" / "." / "model" if "start" in told else None
    with pytest.raises(InputError, match=told):
        check_run_folder(tmp_path / "run", command, start)  # type: ignore[arg-type]


@pytest.mark.parametrize("mark", ["scans.json", "replay"])
def test_a_run_of_the_same_kind_goes_on(tmp_path: Path, mark: str) -> None:
    for name in (mark, "model"):
        (tmp_path / name).mkdir()
    check_run_folder(tmp_path, "train" if mark == "scans.json" else "finetune", "compact")


def test_both_commands_look_at_their_folder_first(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for call in (mmocnet.train_model, mmocnet.finetune_model):
        with pytest.raises(InputError, match="holds another model"):
            call(tmp_path / "set", tmp_path)
        with pytest.raises(InputError, match="holds the model to start from"):
            call(tmp_path / "set", tmp_path, **given(call, tmp_path / "model"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def given(call: object, model: Path) -> dict[str, object]:
    """Return the model to start from as each command takes it."""
    if call is mmocnet.finetune_model:
        return {"start": str(model)}
    return {"settings": TrainSettings(start_from=str(model))}
