"""Version folders appear whole, are never changed, and are never mistaken for one another."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from preprocess_service.contract import (
    CANDIDATE_MARKER,
    FILE_NAME,
    MODEL_FILE,
    ContractMismatch,
    newest_version,
    read_contract,
    version_numbers,
)
from preprocess_service.front_end import ENSEMBLES, FRONT_END
from preprocess_service.model_spec import CNN, MULTIMODAL
from tests.e2e.tiny_models import make_repository
from tests.triton_process import REPOSITORY_ROOT, SHARED_MEMORY
from training.staging import remove, staged
from training.versions import candidate_contract, install, next_version, retire

STAGE_AND_WAIT = """
import sys, time
from pathlib import Path
from training.staging import staged
with staged(Path(sys.argv[1])) as partial:
    (partial / "half").touch()
    print("staged", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def repository(tmp_path):
    """A repository with version 1 of `multimodal`."""
    return make_repository(tmp_path / "models", MULTIMODAL.name)


@pytest.fixture
def candidate(repository, tmp_path):
    return Path(shutil.copytree(repository / MULTIMODAL.name / "1", tmp_path / "candidate"))


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system."""
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system here")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        yield Path(folder)


def write(folder: Path, text: str) -> None:
    with staged(folder) as partial:
        (partial / "file").write_text(text, encoding="utf-8")


@contextlib.contextmanager
def process_that_stages(folder: Path):
    arguments = [sys.executable, "-c", STAGE_AND_WAIT, str(folder)]
    with subprocess.Popen(arguments, cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "staged\n"
            yield process
        finally:
            process.kill()


def test_a_staged_folder_is_not_seen_before_its_end(tmp_path):
    with staged(tmp_path / "1") as partial:
        (partial / "file").touch()
        assert partial.name == "1"
        assert not (tmp_path / "1").exists()

    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["file"]


def test_a_failed_stage_leaves_what_was_there(tmp_path):
    def fail():
        with staged(tmp_path / "1") as partial:
            (partial / "file").write_text("new", encoding="utf-8")
            raise ValueError("no")

    write(tmp_path / "1", "old")
    with pytest.raises(ValueError, match="no"):
        fail()

    assert (tmp_path / "1/file").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_folder_is_never_absent_while_it_is_replaced(tmp_path):
    folder, absences, ended = tmp_path / "1", [], threading.Event()
    write(folder, "0")

    def watch():
        while not ended.is_set():
            absences.extend([] if folder.exists() else [1])

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(1, 51):
        write(folder, str(number))
    ended.set()
    watcher.join()

    assert absences == []
    assert (folder / "file").read_text(encoding="utf-8") == "50"


def test_a_stage_that_must_not_replace_does_not(tmp_path):
    def come_second():
        with staged(tmp_path / "1", replace=False) as partial:
            (partial / "file").touch()
            write(tmp_path / "1", "somebody else's")

    with pytest.raises(FileExistsError, match="is there already"):
        come_second()

    assert (tmp_path / "1/file").read_text(encoding="utf-8") == "somebody else's"


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    with process_that_stages(tmp_path / "1") as living:
        with process_that_stages(tmp_path / "1") as dead:
            dead.send_signal(signal.SIGKILL)
            dead.wait(30)
        assert len(list(tmp_path.glob(".1.*"))) == 2

        write(tmp_path / "1", "mine")

        assert [path.name.split(".")[2] for path in tmp_path.glob(".1.*")] == [str(living.pid)]
        assert (tmp_path / "1/file").exists()


def test_removal_leaves_nothing(tmp_path):
    write(tmp_path / "1", "old")

    remove(tmp_path / "1")

    assert list(tmp_path.iterdir()) == []


def test_an_installed_version_holds_the_candidates_files_under_its_own_number(repository, candidate):
    folder = install(candidate, repository, MULTIMODAL, 7, as_candidate=False)

    assert read_contract(folder, MULTIMODAL).version == 7
    assert candidate_contract(candidate).version == 1
    assert (folder / MODEL_FILE).samefile(candidate / MODEL_FILE)
    assert newest_version(repository, MULTIMODAL) == 7


def test_a_version_installed_as_candidate_is_in_nobodys_service(repository, candidate):
    folder = install(candidate, repository, MULTIMODAL, 2, as_candidate=True)

    assert (folder / CANDIDATE_MARKER).exists()
    assert version_numbers(repository, MULTIMODAL) == [1, 2]
    assert newest_version(repository, MULTIMODAL) == 1


def test_files_are_copied_where_they_cannot_be_linked(repository, candidate, elsewhere):
    away = shutil.copytree(candidate, elsewhere / "candidate")
    for name in (MULTIMODAL.cpu.graph_file, MULTIMODAL.gpu.graph_file):
        (away / name).unlink()
        os.link(away / MODEL_FILE, away / name)

    folder = install(away, repository, MULTIMODAL, 2, as_candidate=False)

    assert (folder / MODEL_FILE).read_bytes() == (away / MODEL_FILE).read_bytes()
    assert (folder / MODEL_FILE).samefile(folder / MULTIMODAL.cpu.graph_file), "one file is copied once"


def test_a_version_is_never_overwritten(repository, candidate):
    before = (repository / MULTIMODAL.name / "1" / FILE_NAME).read_bytes()

    with pytest.raises(FileExistsError, match="is there already"):
        install(candidate, repository, MULTIMODAL, 1, as_candidate=False)

    assert (repository / MULTIMODAL.name / "1" / FILE_NAME).read_bytes() == before


def damage_hash(candidate: Path) -> None:
    (candidate / MODEL_FILE).unlink()
    (candidate / MODEL_FILE).write_bytes(b"another")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_hash, "SHA-256 of model.onnx"),
        (lambda candidate: (candidate / MODEL_FILE).unlink(), "names model.onnx, which the folder lacks"),
        (lambda candidate: (candidate / FILE_NAME).unlink(), "cannot be read"),
        (lambda candidate: (candidate / FILE_NAME).write_text("{", encoding="utf-8"), "Invalid JSON"),
        (shutil.rmtree, "cannot be read: No such file"),
    ],
)
def test_a_damaged_candidate_is_refused_and_leaves_nothing(repository, candidate, damage, reason):
    damage(candidate)

    with pytest.raises(ContractMismatch, match=reason):
        install(candidate, repository, MULTIMODAL, 2, as_candidate=True)

    assert {path.name for path in (repository / MULTIMODAL.name).iterdir()} == {"1", "config.pbtxt", "configs"}


def test_a_candidate_of_another_model_is_refused(repository, candidate):
    with pytest.raises(ContractMismatch, match="model is 'multimodal'; this service needs 'cnn'"):
        install(candidate, repository, CNN, 1, as_candidate=False)


def test_a_retired_versions_number_is_not_given_again(repository, candidate, tmp_path):
    folder = install(candidate, repository, MULTIMODAL, next_version(repository, MULTIMODAL), as_candidate=True)

    went = retire(folder, tmp_path / "rejected")

    assert went.name.startswith("multimodal-2-")
    assert version_numbers(repository, MULTIMODAL) == [1]
    assert (went / MODEL_FILE).exists()
    assert next_version(repository, MULTIMODAL) == 3


def test_retired_versions_of_one_number_do_not_replace_each_other(repository, candidate, tmp_path):
    repositories = [repository, make_repository(tmp_path / "other")]
    folders = [install(candidate, each, MULTIMODAL, 2, as_candidate=True) for each in repositories]

    places = {retire(folder, tmp_path / "rejected") for folder in folders}

    assert len(places) == 2
    assert all(candidate_contract(place).version == 2 for place in places)


def test_a_version_is_retired_to_another_file_system(repository, candidate, elsewhere):
    folder = install(candidate, repository, MULTIMODAL, 2, as_candidate=True)

    went = retire(folder, elsewhere / "rejected")

    assert candidate_contract(went).version == 2
    assert not folder.exists()
    assert not list((repository / MULTIMODAL.name).glob("*.partial"))


def test_the_first_version_is_1(tmp_path):
    assert next_version(tmp_path, MULTIMODAL) == 1


def test_a_version_is_one_of_the_ensemble_where_the_front_end_is(repository, candidate):
    ensemble = repository / ENSEMBLES[MULTIMODAL.name].name

    install(candidate, repository, MULTIMODAL, 2, as_candidate=False)
    (repository / FRONT_END.name / str(FRONT_END.version)).mkdir(parents=True)
    install(candidate, repository, MULTIMODAL, 3, as_candidate=True)

    assert [path.name for path in ensemble.glob("[0-9]*")] == ["3"]
