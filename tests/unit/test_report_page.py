from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from preprocess_service.contract import OperatingPoint
from preprocess_service.model_spec import CNN, MULTIMODAL
from tests.unit.report_graphs import contract_of
from training.manifest import EMERGENCY_KINDS, Clip, Label
from training.report.alarms import Delays, FalseAlarms, poisson_rate
from training.report.alerts import AlertFindings
from training.report.findings import Findings, Model, Surroundings
from training.report.headline import headline
from training.report.history import History, read_history
from training.report.html import Markup, element, joined, table
from training.report.intervals import Estimate, wilson
from training.report.judgement import Judgement
from training.report.kinds import kind_figures
from training.report.listening import Heard
from training.report.measurement import Measured
from training.report.model_sections import model_section
from training.report.original import warning
from training.report.page import page
from training.report.record import plain, to_json
from training.report.sections import comparison
from training.report.shortcuts import find_shortcuts
from training.report.words import share
from training.scoring import Judged

EVIL = r'<script>alert("$\frac{$")</script>'
CLIPS = 120
RANDOM = np.random.default_rng(6)
LABELS = np.arange(CLIPS) % 2 == 0


ALERTS = {
    "audio and text": AlertFindings(
        FalseAlarms(1, 0.5, 0, poisson_rate(0, 0.5), wilson(0, 100), (0.1, 0.2)),
        Delays(3, 0, wilson(0, 3), 3.5, 6.5, (3.0, 3.5, 6.5)),
    ),
    "audio only": AlertFindings(
        FalseAlarms(1, 0.5, 1, poisson_rate(1, 0.5), wilson(9, 100), (0.1, 0.2)),
        Delays(3, 0, wilson(2, 3), np.nan, np.nan, (7.5,)),
    ),
}


def clip_of(index, source):
    kind = EMERGENCY_KINDS[index % len(EMERGENCY_KINDS)] if LABELS[index] else EVIL
    label: Label = "emergency" if LABELS[index] else "normal"
    return Clip(str(index), "a.wav", EVIL, label, kind, "test", 1.0, source=source, speaker_group=f"{EVIL}{index // 5}")


def judgement_of(source):
    bare = np.clip(0.5 + 0.3 * np.where(LABELS, 1, -1) + 0.2 * RANDOM.standard_normal(CLIPS), 0.001, 0.999)
    point = OperatingPoint(scale=1, offset=0, threshold=0.5, uncertain_from=0.3)
    scores = point.calibrate(bare.astype(np.float32))
    has_words = np.arange(CLIPS) % 3 > 0
    judged = Judged(scores, np.where(has_words, 0.5, 0.75).astype(np.float32), np.full(CLIPS, 0.3, np.float32))
    return Judgement(bare, judged, tuple(clip_of(index, source) for index in range(CLIPS)))


def model_of(spec, judged, history=None):
    answers = RANDOM.random((CLIPS // 2, len(EMERGENCY_KINDS)))
    truth = np.array([EMERGENCY_KINDS.index(clip.kind) for clip in judged.clips if clip.label == "emergency"])
    measured = Measured(
        test_clips=CLIPS,
        groups=24,
        by_clip=False,
        metrics=judged.metrics(),
        calibrations=judged.calibrations(1.5, 77),
        band=judged.band(),
        recall_by_kind=judged.said_by_kind("emergency"),
        false_positives_by_topic=judged.said_by_kind("normal"),
        accuracy_of_parts=judged.subsets(),
        kinds=kind_figures(answers, truth, EMERGENCY_KINDS) if spec.names_kind else None,
        sources=judged.sources(),
        ablation_clips=CLIPS,
        ablations={"as it is": judged.metrics()},
        false_alarms=FalseAlarms(1, 0.5, 2, poisson_rate(2, 0.5), wilson(3, 100), (0.1, 0.9, 0.2)),
        delays=Delays(3, 0, wilson(0, 3), 2.5, 4.0, (2.0, 2.5, 4.0)),
        alerts={name: ALERTS[name] for name in (ALERTS if spec.tokens else ["audio only"])},
        seconds=12.0,
    )
    return Model(contract_of(spec, {}), measured, history, judged, same_corpus=True)


def findings_of(*, silence=0.0, source="synthetic", synthetic_share=1.0, specs=(MULTIMODAL,)):
    judged = judgement_of(source)
    noise = RANDOM.standard_normal((CLIPS, 4))
    spoilt = noise + silence * LABELS[:, np.newaxis]
    shortcuts = find_shortcuts(Heard(spoilt, noise, noise, noise, noise), judged.clips)
    history = History({"loss": [0.7, 0.4], "val_loss": [0.8, 0.5]}, 60.0, "x86_64", "2026-11-22")
    histories = {MULTIMODAL: history}
    models = {spec.name: model_of(spec, judged, histories.get(spec)) for spec in specs}
    clips = {"train": 500, "validation": 100, "test": CLIPS}
    there = Surroundings(
        source, "f" * 64, clips, synthetic_share, 0.0, "2026-11-22", "x86_64", {"Python": "3.11"}, False
    )
    return Findings(there, shortcuts, models, ("yamnet",))


FINDINGS = findings_of(specs=(MULTIMODAL, CNN))
PAGE = page(FINDINGS)


class Tags(HTMLParser):
    """All start tags of a page, and whether every element that was opened is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


TAGS = Tags(PAGE)


def test_the_page_needs_nothing_else():
    assert not TAGS.named("script")
    assert not TAGS.named("link")
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in TAGS.named("img"))
    assert PAGE.count("url(") == PAGE.count("url(data:font/woff;base64,")
    assert all(anchor["href"].startswith("#") for anchor in TAGS.named("a"))


def test_the_contents_lead_to_sections():
    there = {attributes["id"] for _, attributes in TAGS.tags if "id" in attributes}

    assert {anchor["href"][1:] for anchor in TAGS.named("a")} == there


def test_names_from_a_manifest_stay_text():
    evil = Tags(page(findings_of(source=EVIL, synthetic_share=0.0)))

    assert not evil.named("script")
    assert any(EVIL in words for words in evil.words)


def test_tables_and_pictures_can_be_read_aloud():
    assert all(cell["scope"] in ("row", "col") for cell in TAGS.named("th"))
    assert len(TAGS.named("caption")) == len(TAGS.named("table"))
    assert all(image["alt"] for image in TAGS.named("img"))
    assert len(TAGS.named("figcaption")) == len(TAGS.named("img"))


def test_every_figure_says_what_it_was_measured_on():
    notes = re.findall(r"<(?:figcaption|small)>(.*?)</", PAGE)

    about_test_clips = [note for note in notes if "Training and validation" not in note]
    assert len(about_test_clips) > 15
    for note in about_test_clips:
        for part in ("corpus synthetic", "split", "2026-11-22", "x86_64", "Python 3.11", "SYNTHETIC"):
            assert part in note
    assert sum("n = " in note for note in about_test_clips) >= len(about_test_clips) - 1  # the original's has none


def test_kinds_show_in_hangul():
    assert all(kind in PAGE for kind in EMERGENCY_KINDS)


def test_models_that_were_not_trained_are_named():
    assert "yamnet" in PAGE
    assert "not trained" in PAGE


def test_curves_are_drawn_where_training_left_them():
    assert PAGE.count("left no record of losses") == 1
    assert "Loss and accuracy of every epoch of multimodal/1" in PAGE


def test_the_original_work_stands_beside_ours_with_a_warning():
    section = PAGE[PAGE.index('id="original"') :]

    assert "0.9917" in section
    assert "must not be compared" in section
    assert "stayed at 0.5" in section


def test_the_verdict_comes_first():
    words = " ".join(TAGS.words)

    assert words.index("SYNTHETIC.") < words.index("multimodal judged 120 test clips") < words.index("Models")


def test_a_shortcut_voids_everything_prominently():
    spoilt = findings_of(silence=2.0)

    made, record = page(spoilt), to_json(spoilt)

    notes = re.findall(r"<(?:figcaption|small)>(.*?)</", made)
    assert len(notes) > 10
    assert all("INVALID: shortcuts" in note for note in notes if "Training and validation" not in note)
    assert made.index("INVALID") < made.index("<nav")
    assert 'role="alert"' in made
    assert "Do not use these figures" in headline(spoilt)[0]
    assert (record["status"], record["valid"]) == ("INVALID", False)


def test_real_calls_without_shortcuts_are_valid():
    real = findings_of(source="our calls", synthetic_share=0.0, specs=())

    assert real.status == "VALID"
    assert "SYNTHETIC" not in page(real)


def test_a_corpus_that_is_partly_synthetic_is_so_called():
    assert findings_of(synthetic_share=0.25, specs=()).status == "SYNTHETIC"


def test_a_model_of_another_corpus_is_not_called_unheard():
    models = {name: replace(model, same_corpus=False) for name, model in FINDINGS.models.items()}
    foreign = replace(FINDINGS, models=models)

    assert "that it had never heard" in " ".join(headline(FINDINGS))
    assert "that it had never heard" not in " ".join(headline(foreign))
    assert "trained on another corpus" in model_section(foreign, "cnn")


def test_without_a_model_there_is_still_a_verdict():
    empty = replace(FINDINGS, models={})

    assert "No model" in " ".join(headline(empty))
    assert Tags(page(empty)).named("table")


def test_the_record_is_json_and_holds_the_numbers():
    record = json.loads(json.dumps(to_json(FINDINGS), allow_nan=False))

    figures = record["models"]["multimodal"]
    assert figures["metrics"]["recall_at"]["0.01"]["n"] == CLIPS / 2
    assert figures["metrics"]["auc"]["value"] == FINDINGS.models["multimodal"].measured.metrics.auc.value
    assert figures["calibrations"]["temperature"] == 1.5
    assert figures["history"]["curves"]["loss"] == [0.7, 0.4]
    assert record["models"]["cnn"]["history"] is None
    assert record["not_trained"] == ["yamnet"]
    assert record["shortcuts"]["limit"] == 0.6
    assert len(record["original_work"]["models"]) == 7


def test_unknown_numbers_are_null_in_the_record():
    assert plain({"a": Estimate(np.nan, 0.0, np.inf, 3), 0.1: (np.float64(1), np.array([1, 2]))}) == {
        "a": {"value": None, "low": 0.0, "high": None, "n": 3},
        "0.1": [1.0, [1, 2]],
    }


def test_elements_escape_what_is_not_markup():
    assert element("p", "<b>", Markup("<i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></p>'
    assert joined(["&", Markup("&amp;")]) == "&amp;&amp;"
    assert EVIL not in table(EVIL, [EVIL], [[EVIL, EVIL]], EVIL)


def streamed(delays):
    model = FINDINGS.models["multimodal"]
    models = {"multimodal": replace(model, measured=replace(model.measured, delays=delays))}
    return replace(FINDINGS, models=models)


def test_calls_in_which_an_alarm_was_sounding_already_are_not_called_missed():
    early = streamed(Delays(4, 4, wilson(0, 0), np.nan, np.nan, ()))

    sentences, made = " ".join(headline(early)), page(early)

    assert "in all 4 calls under way one was sounding before the emergency began" in sentences
    assert "missed" not in sentences
    assert made.count("alarms sounding already") == 3  # the comparison, median and 90th percentile
    assert to_json(early)["models"]["multimodal"]["delays"]["median_s"] is None


def test_the_share_of_early_alarms_is_told():
    some = " ".join(headline(streamed(Delays(4, 1, wilson(0, 3), 2.5, 4.0, (2.0, 2.5, 4.0)))))
    missed = " ".join(headline(streamed(Delays(8, 2, wilson(4, 6), np.nan, np.nan, (2.0, 2.5)))))

    assert "(in 25% an alarm was sounding before) are heard within 2.5 s" in some
    assert "(in 25% an alarm was sounding before) it missed half of the emergencies or more" in missed


def test_the_alert_policy_stands_beside_single_windows():
    said = " ".join(headline(FINDINGS))

    assert "given audio and text, raises 0.0 false alerts an hour (0.0 to 7.4)" in said
    assert "in half of the emergencies it raises one within 3.5 s, in 0% none" in said
    assert "given audio only, raises 2.0 false alerts an hour (0.1 to 11.1); in half of the emergencies or more" in said
    for heading in ("single windows", "alert policy, audio and text", "alert policy, audio only"):
        assert heading in PAGE
    numbers = to_json(FINDINGS)["models"]
    assert numbers["multimodal"]["alerts"]["audio and text"]["delays"]["p90_s"] == 6.5
    assert numbers["cnn"]["alerts"].keys() == {"audio only"}
    assert numbers["cnn"]["alert_policy"]["time_constant_s"] == 2


def with_alert_figures(**changes):
    model = FINDINGS.models["cnn"]
    alert = model.contract.alert
    levels = alert.without_transcript
    measured = levels.model_copy(update={"validation": levels.validation.model_copy(update=changes)})
    contract = model.contract.model_copy(
        update={"alert": alert.model_copy(update={"without_transcript": measured, "with_transcript": measured})}
    )
    return page(replace(FINDINGS, models={"cnn": replace(model, contract=contract)}))


def test_what_validation_shows_of_the_policy_is_told():
    assert "without words nothing was measured" in PAGE
    few = with_alert_figures(hours=0.5, false_alarms=0, at_most_per_hour=7.4)
    assert "there were 0 in 0.50 h (at 95 % up to 7.4 an hour, too few hours to show it)" in few
    shown = with_alert_figures(hours=5.0, false_alarms=0, at_most_per_hour=0.7)
    assert "there were 0 in 5.00 h (at 95 % up to 0.7 an hour)" in shown
    broken = with_alert_figures(hours=0.5, false_alarms=3, at_most_per_hour=17.5)
    assert "there were 3 in 0.50 h, the fewest of all policies tried" in broken


def test_clips_without_words_are_judged_by_their_own_threshold():
    judged = judgement_of("synthetic")
    said = judged.scores >= np.where(np.arange(CLIPS) % 3 > 0, 0.5, 0.75)

    metrics, band = judged.metrics(), judged.band()

    assert metrics.thresholds == (0.5, 0.75)
    assert metrics.confusion.true_positives == (said & LABELS).sum()
    assert sum(each.value * each.n for each in judged.said_by_kind("emergency").values()) == pytest.approx(
        (said & LABELS).sum()
    )
    assert band.uncertain_normal.value == pytest.approx((~said & (judged.scores >= 0.3))[~LABELS].mean())
    assert "0.500 or 0.750" in PAGE


def test_the_page_says_whether_a_model_beats_chance_and_how_often_it_names_the_kind():
    model = FINDINGS.models["multimodal"]
    guessing = replace(model.measured.metrics, beats_chance=False)
    lucky = replace(FINDINGS, models={"cnn": replace(model, measured=replace(model.measured, metrics=guessing))})
    record = to_json(FINDINGS)["models"]["multimodal"]

    assert record["metrics"]["beats_chance"] is True
    assert record["metrics"]["larger_class"] == 0.5
    assert record["kinds"]["top_1"]["n"] == record["kinds"]["top_3"]["n"] == CLIPS / 2
    assert "<td>yes</td>" in comparison(FINDINGS)
    assert "<td>yes</td>" not in comparison(lucky)
    assert "<td>no</td>" in comparison(lucky)
    assert share(model.measured.kinds.top_3) in comparison(FINDINGS)
    assert "names none" in comparison(FINDINGS)  # the other model


@pytest.mark.parametrize(
    ("without_speaker", "said"),
    [(0.0, "nor any speaker, and"), (0.25, "25.0% of its clips name none"), (1.0, "the corpus names no speakers")],
)
def test_speakers_are_apart_only_where_the_corpus_knows_them(without_speaker, said):
    there = replace(FINDINGS.surroundings, without_speaker=without_speaker)

    assert said in warning(without_speaker)
    assert said in page(replace(FINDINGS, surroundings=there, models={}))


def test_kind_figures_count_the_likeliest_and_the_first_three():
    answers = np.array([[0.7, 0.2, 0.1, 0.0], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])

    figures = kind_figures(answers, np.array([0, 2, 0]), "abcd")

    assert figures.confusion == ((1, 0, 0, 1), (0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0))
    assert (figures.top_1.value, figures.top_3.value) == pytest.approx((1 / 3, 2 / 3))


def test_training_histories_are_read(tmp_path):
    assert read_history(tmp_path) is None
    (tmp_path / "training.json").write_text('{"history": {"loss": [1, 0.5]}, "seconds": 3, "date": "2026-11-22"}')

    assert read_history(tmp_path) == History({"loss": [1.0, 0.5]}, 3.0, "", "2026-11-22")


@pytest.mark.parametrize("text", ["{", "[]", '{"history": {"loss": "high"}}', "{}"])
def test_a_malformed_history_is_named(tmp_path, text):
    (tmp_path / "training.json").write_text(text)

    with pytest.raises(ValueError, match=r"training\.json"):
        read_history(tmp_path)
