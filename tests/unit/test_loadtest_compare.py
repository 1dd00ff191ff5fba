"""What `python -m loadtest compare` calls worse, what it puts down to noise, and what it will not compare."""

import copy
import json
import random

import pytest

from loadtest.__main__ import main
from loadtest.figures import Figure, figures_of, figures_to_json
from loadtest.regression import Incomparable, chance_worse, compare, worse_by

QUIET = (100.0, 101.0, 99.0, 100.5, 99.5)
NOISY = (60.0, 140.0, 100.0, 75.0, 130.0)


def document(*figures, **changes):
    made = {
        "kind": "report",
        "commit": "a" * 40,
        "machine": {"processor": "one", "cores": 2, "system": "Linux 6"},
        "model": "multimodal/1",
        "figures": figures_to_json(figures),
    }
    return {**made, **changes}


def figure(values, name="p50", better="lower", unit="ms"):
    return Figure(name, unit, better, tuple(values))


def scaled(values, by):
    return tuple(value * by for value in values)


def verdict(old, new):
    return compare(document(old), document(new)).changes[0].verdict


@pytest.mark.parametrize(
    ("better", "by", "expected"),
    [("lower", 1.2, "worse"), ("lower", 0.8, "better"), ("higher", 0.8, "worse"), ("higher", 1.2, "better")],
)
def test_what_moves_beyond_noise_is_worse_or_better_by_the_figures_own_sense(better, by, expected):
    assert verdict(figure(QUIET, better=better), figure(scaled(QUIET, by), better=better)) == expected


def test_the_same_change_within_noise_is_none():
    assert verdict(figure(NOISY), figure(scaled(NOISY, 1.2))) == "same"


def test_a_change_beyond_noise_but_too_small_to_matter_is_none():
    old, new = document(figure(QUIET)), document(figure(scaled(QUIET, 1.04)))

    assert compare(old, new).changes[0].verdict == "same"
    assert compare(old, new, least_change=0.02).changes[0].verdict == "worse"


def test_figures_that_were_not_repeated_cannot_be_told():
    assert verdict(figure([100.0]), figure([300.0])) == "cannot be told"


def test_one_repeated_side_tells_the_noise_of_both():
    assert verdict(figure(QUIET), figure([150.0])) == "worse"
    assert verdict(figure(NOISY), figure([150.0])) == "same"


def test_zeros_have_no_logarithm_and_are_compared_bare():
    none, some = figure([0.0, 0.0, 0.0], unit="calls"), figure([3.0, 4.0, 5.0], unit="calls")

    assert verdict(none, some) == "worse"
    assert verdict(none, none) == "same"


def test_many_figures_of_mere_noise_are_seldom_called_worse():
    chance = random.Random(7)

    def run():
        return document(*(figure([chance.lognormvariate(3, 0.1) for _ in range(5)], name=str(n)) for n in range(20)))

    found = sum(compare(run(), run(), least_change=0).is_worse for _ in range(200))

    assert found <= 20  # 5 of 100 by its own level: 10 of 200 on average


def test_the_test_is_students():
    # 3 apart, an error of sqrt(1 * (1/3 + 1/3)): t is 3.674 with 4 degrees of freedom, whose tail is 0.01065
    old, new = figure([-1.0, 0.0, 1.0]), figure([2.0, 3.0, 4.0])

    assert chance_worse(old, new) == pytest.approx(0.01065, abs=2e-5)
    assert chance_worse(new, old) == pytest.approx(1 - 0.01065, abs=2e-5)


def test_the_change_is_that_of_the_medians():
    assert worse_by(figure([10, 20, 90]), figure([30, 30, 30])) == pytest.approx(0.5)
    assert worse_by(figure([20], better="higher"), figure([10], better="higher")) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": {"processor": "two", "cores": 2}}, 'machine.processor differs: "one" in the old run, "two" in'),
        ({"machine": {"processor": "one", "cores": 4}}, "machine.cores differs: 2 in the old run, 4 in the new one"),
        ({"model": "vgg16/1"}, 'model name differs: "multimodal" in the old run, "vgg16" in the new one'),
        ({"kind": "bench"}, "kind differs"),
        ({"plan": {"seconds": 3}}, "plan differs: nothing in the old run"),
        ({"figures": [figure(QUIET, name="other").to_dict()]}, "no figure in common"),
        ({"figures": [figure(QUIET, unit="s").to_dict()]}, "figure 'p50' is in 'ms'"),
        ({"figures": []}, "no list under"),
    ],
)
def test_other_machines_models_and_plans_are_not_compared(changes, message):
    old = document(figure(QUIET))

    with pytest.raises(Incomparable, match=message):
        compare(old, {**copy.deepcopy(old), **changes})


def test_benchmarks_which_have_neither_model_nor_plan_are_compared_with_each_other_alone():
    bench = {key: value for key, value in document(figure(QUIET)).items() if key not in ("kind", "model")}
    worse = {**bench, "figures": [figure(scaled(QUIET, 2)).to_dict()]}

    assert compare(bench, worse).is_worse
    with pytest.raises(Incomparable, match='kind differs: nothing in the old run, "report" in the new one'):
        compare(bench, document(figure(QUIET)))


def test_a_new_version_or_commit_is_said_and_compared():
    found = compare(document(figure(QUIET)), document(figure(QUIET), model="multimodal/2", commit="b" * 40))

    assert not found.is_worse
    assert [note.partition(":")[0] for note in found.notes] == ["commit", "model"]


def test_what_either_run_doubted_of_itself_is_said():
    old = document(figure(QUIET), doubts=["other programs kept 1.0 of the 2 cores busy meanwhile"])

    assert compare(old, document(figure(QUIET))).notes == (
        "old run: other programs kept 1.0 of the 2 cores busy meanwhile",
    )


def test_of_a_plan_and_of_versions_the_very_part_that_differs_is_named():
    old = document(figure(QUIET), plan={"rounds": 5, "seconds": 3}, versions={"grpcio": "1", "numpy": "2"})

    assert compare(old, {**old, "versions": {"grpcio": "1", "numpy": "3"}}).notes == ('versions.numpy: "2", then "3"',)
    with pytest.raises(Incomparable, match="plan.seconds differs: 3 in the old run, 4 in the new one"):
        compare(old, {**old, "plan": {"rounds": 5, "seconds": 4}})


def test_a_figure_that_is_gone_is_worse():
    both = compare(document(figure(QUIET), figure(QUIET, name="live")), document(figure(QUIET)))

    assert both.gone == ("live",)
    assert both.is_worse


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": []}, "values must be one or more finite numbers"),
        ({"values": [1, None]}, "values must be"),
        ({"values": [float("nan")]}, "values must be"),
        ({"values": [True]}, "values must be"),
        ({"better": "faster"}, "better is 'faster'; it must be lower or higher"),
        ({"name": ""}, "name and unit must be texts"),
    ],
)
def test_a_wrong_figure_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        figures_of({"figures": [{**figure(QUIET).to_dict(), **changes}]})


def test_figures_come_back_from_json_as_they_were():
    made = [figure(QUIET), figure([1.5], name="calls", better="higher", unit="")]

    assert list(figures_of(json.loads(json.dumps({"figures": figures_to_json(made)}))).values()) == made
    with pytest.raises(ValueError, match="twice there: p50"):
        figures_to_json([made[0], made[0]])


@pytest.fixture
def saved(tmp_path):
    def save(name, made):
        path = tmp_path / name
        path.write_text(made if isinstance(made, str) else json.dumps(made), encoding="utf-8")
        return str(path)

    return save


def test_the_command_ends_with_1_where_something_got_worse_and_names_it(saved, tmp_path, capsys):
    old = saved("old.json", document(figure(QUIET), figure(QUIET, name="p99")))
    new = saved("new.json", document(figure(QUIET), figure(scaled(QUIET, 2), name="p99")))

    assert main(["compare", old, new, "--json", str(tmp_path / "out.json")]) == 1
    assert "WORSE by more than noise: p99 (+100.0%)" in " ".join(capsys.readouterr().out.split())
    verdicts = {each["name"]: each["verdict"] for each in json.loads((tmp_path / "out.json").read_text())["changes"]}
    assert verdicts == {"p50": "same", "p99": "worse"}


def test_the_command_ends_with_0_where_nothing_got_worse(saved, capsys):
    old = saved("old.json", document(figure(QUIET)))

    assert main(["compare", old, old]) == 0
    assert "nothing got worse" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("{", "new.json: "),
        ("{}", 'there is no list under "figures"'),
        (document(figure(QUIET), model="vgg16/1"), "model name differs"),
    ],
)
def test_the_command_ends_with_2_where_runs_cannot_be_compared(saved, capsys, made, message):
    old, new = saved("old.json", document(figure(QUIET))), saved("new.json", made)

    assert main(["compare", old, new]) == 2
    assert message in capsys.readouterr().err


def test_the_command_ends_with_2_where_there_is_no_file(saved, tmp_path, capsys):
    assert main(["compare", saved("old.json", document(figure(QUIET))), str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
