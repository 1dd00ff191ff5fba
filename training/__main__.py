"""`python -m training`: from a corpus to models in the repository."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from preprocess_service.errors import InvalidAudio
from training import promotion_command, triton_config
from training.importers import command as importing
from training.manifest import ManifestError, SplitError
from training.synthetic import corpus as synthetic

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand; 0 fine, 1 failed, 2 usage."""
    arguments = _parser().parse_args(argv)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        return int(arguments.run(arguments))
    except (ManifestError, SplitError, OSError, InvalidAudio) as error:  # a full disk is an OSError
        print(f"python -m training: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("synthesize", help="speak the synthetic Korean corpus")
    synthetic.add_arguments(command)
    command.set_defaults(run=synthetic.run)

    command = commands.add_parser("import", help="bring a published corpus, as found on disk, to a manifest")
    importing.add_arguments(command)
    command.set_defaults(run=importing.run)

    command = commands.add_parser("features", help="compute the features of models ahead of training")
    _add_corpus(command)
    _add_features(command)
    command.add_argument("--measure", type=_positive, metavar="CLIPS", help="only measure the speed, on so many clips")
    command.set_defaults(run=_features)

    command = commands.add_parser("train", help="train models on a corpus and export them as candidates for promotion")
    _add_training(command)
    command.set_defaults(run=_train)

    command = commands.add_parser("evaluate", help="measure the exported models on the test split")
    _add_corpus(command)
    command.add_argument(
        "--matched", type=Path, metavar="FOLDER", help="test clips as training is recorded: `synthesize --beside`"
    )
    command.add_argument("--json", type=Path, default=ROOT / "build/evaluation.json", help="where to write the figures")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("report", help="write the evaluation report; exit code 3 where shortcuts void it")
    _add_corpus(command)
    command.add_argument("--out", type=Path, default=ROOT / "build/report", help="folder of report.html, report.json")
    command.add_argument("--quick", action="store_true", help="measure little of everything")
    command.set_defaults(run=_report)

    command = commands.add_parser("quantize", help="add int8 and fp16 to the newest versions, as candidates")
    _add_corpus(command)
    _add_candidates(command)
    command.add_argument("--json", type=Path, help="where to write what the tables show")
    command.set_defaults(run=_quantize)

    command = commands.add_parser("promote", help="bring a candidate into service, proven and without a lost call")
    promotion_command.add_promote_arguments(command, ROOT)

    command = commands.add_parser("rollback", help="take the newest version of a model out of service")
    promotion_command.add_rollback_arguments(command, ROOT)

    command = commands.add_parser("front-end", help="write the audio front end that Triton runs beside the models")
    command.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    command.set_defaults(run=_front_end)

    command = commands.add_parser("configs", help="write Triton's config.pbtxt files from the typed specs")
    command.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    command.add_argument(
        "--cores", type=_at_least_two, metavar="N", help="of the machine that serves the CPU profile (default: 2)"
    )
    command.set_defaults(run=_configs)
    return parser


def _add_corpus(command: argparse.ArgumentParser) -> None:
    from preprocess_service.model_spec import MODELS

    command.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(MODELS)}")
    command.add_argument("--data", type=Path, default=ROOT / "data/synthetic", help="folder with manifest.csv")
    command.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    command.add_argument("--cache", type=Path, default=ROOT / "build/features", help="where computed features are kept")
    command.add_argument("--workers", type=_positive, default=os.cpu_count() or 1)


def _add_training(command: argparse.ArgumentParser) -> None:
    _add_corpus(command)
    _add_candidates(command)
    _add_features(command)
    command.add_argument("--epochs", type=_positive, help="at most; default: the recipe's number")
    command.add_argument("--clips", type=_positive, metavar="N", help="only so many, of every split its share")
    command.add_argument("--head", choices=("logit", "reference"), default="logit", help="of `multimodal`")
    command.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        default="float32",
        help="of the arithmetic in training; mixed_bfloat16 is faster where the processor has it",
    )
    command.add_argument("--vgg16-weights", type=Path, metavar="FILE", help="VGG-16 weights without the top, .h5")
    command.add_argument("--yamnet-weights", type=Path, metavar="FILE", help="the published yamnet.h5")
    command.add_argument(
        "--if-missing", action="store_true", help="put models straight into the repository, where it has none"
    )


def _add_features(command: argparse.ArgumentParser) -> None:
    """What `features` must be told as `train` will be, to be of use to it."""
    command.add_argument("--variants", type=int, default=1, help="augmented repetitions of every training clip")
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the features on disk")


def _add_candidates(command: argparse.ArgumentParser) -> None:
    command.add_argument("--candidates", type=Path, default=ROOT / "build/candidates", help="where candidates are kept")


def _positive(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{count} must be at least 1")
    return count


def _at_least_two(text: str) -> int:
    """With one instance Triton's batcher stalls: deploy/triton/README.md, Traps."""
    return max(2, _positive(text))


def _features(arguments: argparse.Namespace) -> int:
    from training import throughput

    return throughput.run(arguments)


def _train(arguments: argparse.Namespace) -> int:
    from training.pipeline import train_and_export

    return train_and_export(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from training.pipeline import evaluate_all

    return evaluate_all(arguments)


def _report(arguments: argparse.Namespace) -> int:
    from training.pipeline import quiet_tensorflow

    with quiet_tensorflow():
        from training.report import command

    return command.run(arguments)


def _quantize(arguments: argparse.Namespace) -> int:
    from training.pipeline import quiet_tensorflow

    with quiet_tensorflow():
        from training.precision import command

    return command.run(arguments)


def _front_end(arguments: argparse.Namespace) -> int:
    from training.front_end.installation import install

    for path in install(arguments.repository):
        print(path)
    return 0


def _configs(arguments: argparse.Namespace) -> int:
    for path in triton_config.write_configs(arguments.repository, arguments.cores):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
