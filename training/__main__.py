"""`python -m training`: from a corpus to models in the repository."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from preprocess_service.errors import InvalidAudio
from training import triton_config
from training.manifest import ManifestError, SplitError
from training.synthetic import corpus as synthetic

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand; 0 fine, 1 failed, 2 usage."""
    arguments = _parser().parse_args(argv)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        return int(arguments.run(arguments))
    except (ManifestError, SplitError, FileNotFoundError, InvalidAudio) as error:
        print(f"python -m training: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("synthesize", help="speak the synthetic Korean corpus")
    synthetic.add_arguments(command)
    command.set_defaults(run=synthetic.run)

    command = commands.add_parser("train", help="train models on a corpus and export them to the model repository")
    _add_corpus(command)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--epochs", type=int, help="at most; default: the published number")
    command.add_argument("--vgg16-weights", type=Path, metavar="FILE", help="VGG-16 weights without the top, .h5")
    command.add_argument("--version", type=int, help="the version folder to write; default: the next free one")
    command.add_argument("--if-missing", action="store_true", help="replace nothing but an outdated demo model")
    command.set_defaults(run=_train)

    command = commands.add_parser("evaluate", help="measure the exported models on the test split")
    _add_corpus(command)
    command.add_argument("--json", type=Path, default=ROOT / "build/evaluation.json", help="where to write the figures")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("configs", help="write Triton's config.pbtxt files from the typed specs")
    command.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    command.set_defaults(run=_configs)
    return parser


def _add_corpus(command: argparse.ArgumentParser) -> None:
    from preprocess_service.model_spec import MODELS

    command.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(MODELS)}")
    command.add_argument("--data", type=Path, default=ROOT / "data/synthetic", help="folder with manifest.csv")
    command.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    command.add_argument("--cache", type=Path, default=ROOT / "build/features", help="where computed features are kept")
    command.add_argument("--workers", type=int, default=os.cpu_count() or 1)


def _train(arguments: argparse.Namespace) -> int:
    from training.pipeline import train_and_export

    return train_and_export(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from training.pipeline import evaluate_all

    return evaluate_all(arguments)


def _configs(arguments: argparse.Namespace) -> int:
    for path in triton_config.write_configs(arguments.repository):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
