"""What `python -m training train --if-missing` (`make serve`) leaves alone, and what it replaces."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from preprocess_service.contract import FILE_NAME, MODEL_FILE, newest_version, version_numbers
from preprocess_service.model_spec import CNN
from tests.e2e.tiny_models import make_repository
from tests.unit.small_corpus import write_corpus
from training import pipeline
from training.dataset import read_corpus
from training.promotion import exclusive


@pytest.fixture
def corpus(tmp_path):
    write_corpus(tmp_path / "data", clips_per_class_and_split=1)
    return read_corpus(tmp_path / "data")


@pytest.fixture
def repository(tmp_path):
    """A repository with version 1 of `cnn`."""
    return make_repository(tmp_path / "models", CNN.name)


@pytest.fixture
def arguments(repository, tmp_path):
    """Those of `train`, with a candidate in its place."""
    candidates = tmp_path / "build/candidates"
    shutil.copytree(repository / CNN.name / "1", candidates / CNN.name)
    return Namespace(repository=repository, candidates=candidates)


def rewrite(folder: Path, *, corpus: str, fingerprint: str = "another", **changes: object) -> None:
    path = folder / FILE_NAME
    contract = json.loads(path.read_text(encoding="utf-8")) | changes
    contract["training_data"].update(corpus=corpus, fingerprint=fingerprint)
    path.write_text(json.dumps(contract), encoding="utf-8")


def is_kept(repository, corpus):
    return pipeline._is_kept(CNN, 1, corpus, repository)


def test_a_demo_model_of_this_corpus_is_kept(repository, corpus):
    rewrite(repository / "cnn/1", corpus="synthetic", fingerprint=corpus.fingerprint)

    assert is_kept(repository, corpus)


@pytest.mark.parametrize("changes", [{}, {"format_version": 1}, {"surprise": 1}], ids=["corpus", "format", "key"])
def test_an_outdated_demo_model_is_not_kept(repository, corpus, changes):
    rewrite(repository / "cnn/1", corpus="synthetic", **changes)

    assert not is_kept(repository, corpus)


def test_a_demo_model_without_its_graph_is_not_kept(repository, corpus):
    rewrite(repository / "cnn/1", corpus="synthetic", fingerprint=corpus.fingerprint)
    (repository / "cnn/1" / MODEL_FILE).unlink()

    assert not is_kept(repository, corpus)


def test_a_model_of_own_data_is_kept(repository, corpus, capsys):
    rewrite(repository / "cnn/1", corpus="our call centre")

    assert is_kept(repository, corpus)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("changes", [{"format_version": 1}, {"format_version": 4, "surprise": 1}], ids=["old", "newer"])
def test_a_model_of_own_data_and_another_format_is_kept_and_told(repository, corpus, capsys, changes):
    rewrite(repository / "cnn/1", corpus="our call centre", **changes)

    assert is_kept(repository, corpus)
    assert "cnn/1 cannot be served by this code" in capsys.readouterr().out


@pytest.mark.parametrize("contract", [b"", b"[1]", b'{"training_data": 1}', b"\xff{", b'{"training_data": {}}'])
def test_a_model_whose_contract_says_no_corpus_is_kept_and_told(repository, corpus, capsys, contract):
    (repository / "cnn/1" / FILE_NAME).write_bytes(contract)

    assert is_kept(repository, corpus)
    assert "cannot be served by this code" in capsys.readouterr().out


def test_a_model_without_a_contract_is_kept_and_told(repository, corpus, capsys):
    (repository / "cnn/1" / FILE_NAME).unlink()

    assert is_kept(repository, corpus)
    assert "cannot be served by this code" in capsys.readouterr().out


def test_a_kept_model_is_not_trained_again(repository, corpus, tmp_path, capsys):
    rewrite(repository / "cnn/1", corpus="our call centre", format_version=1)
    options = Namespace(models=["cnn"], data=tmp_path / "data", repository=repository, if_missing=True)

    assert pipeline.train_and_export(options) == 0
    assert version_numbers(repository, CNN) == [1]
    assert "there already" in capsys.readouterr().out


def test_an_outdated_demo_model_is_put_aside_and_its_number_is_not_used_again(repository, arguments, tmp_path):
    old = (repository / "cnn/1" / FILE_NAME).read_bytes()

    assert pipeline._install_demo(CNN, 1, arguments)

    assert version_numbers(repository, CNN) == [2]
    (went,) = (tmp_path / "build/rejected").iterdir()
    assert went.name.startswith("cnn-1-")
    assert (went / FILE_NAME).read_bytes() == old


def test_a_first_demo_model_needs_no_folder(arguments, tmp_path):
    arguments.repository = tmp_path / "elsewhere"

    assert pipeline._install_demo(CNN, None, arguments)
    assert newest_version(tmp_path / "elsewhere", CNN) == 1


def test_a_promotion_under_way_is_not_disturbed(repository, arguments, capsys):
    with exclusive(repository, CNN):
        assert not pipeline._install_demo(CNN, 1, arguments)

    assert version_numbers(repository, CNN) == [1]
    assert "another promotion or rollback of cnn is under way" in capsys.readouterr().out


def test_a_version_promoted_meanwhile_stays_in_service(repository, arguments, capsys):
    shutil.copytree(repository / "cnn/1", repository / "cnn/2")

    assert not pipeline._install_demo(CNN, 1, arguments)

    assert version_numbers(repository, CNN) == [1, 2]
    assert "cnn/2 has gone into service meanwhile" in " ".join(capsys.readouterr().out.split())
