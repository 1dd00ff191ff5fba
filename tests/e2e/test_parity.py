"""What is served is what was trained: the same tensors, the same numbers, for every caller."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient import grpc as triton_grpc

from client import AudioFormat
from preprocess_service.contract import MODEL_FILE, newest_version, read_contract
from preprocess_service.model_spec import MODELS, PICTURE
from tests.e2e.conftest import DATA, MODEL_REPOSITORY
from tests.e2e.frozen import Frozen
from tests.triton_process import wait_until
from training.dataset import load_rows
from training.line import code_words
from training.precision.served import ServedGraph
from training.scoring import session

MODEL_NAMES = [name for name, spec in MODELS.items() if newest_version(MODEL_REPOSITORY, spec)]  # what is trained
NUMPY_TYPES = {"FP32": np.float32, "INT32": np.int32}


def arrays_of(preprocessed):
    return {
        tensor.name: np.frombuffer(tensor.raw_contents, NUMPY_TYPES[tensor.datatype]).reshape(tensor.shape)
        for tensor in preprocessed.inputs
    }


def held_out(corpus):
    return [clip for clip in corpus.clips if clip.split == "test"]


@pytest.fixture(scope="module", params=MODEL_NAMES)
def model(request):
    spec = MODELS[request.param]
    folder = MODEL_REPOSITORY / spec.name / str(newest_version(MODEL_REPOSITORY, spec))
    return spec, read_contract(folder, spec), folder


def test_service_tensors_are_training_tensors(client, corpus, model):
    spec, contract, _ = model
    rows = load_rows(corpus, spec, contract.text, DATA.parent.parent / "build/features", workers=2)
    chosen = [index for index, clip in enumerate(corpus.clips) if clip.split == "test"][:25]

    for index in chosen:
        clip = corpus.clips[index]
        # What training hears of a clip, in its own code words: the service loses nothing of it.
        words = code_words(corpus.samples(index)).tobytes()
        served = arrays_of(client.preprocess(words, format=AudioFormat.mulaw(), transcript=clip.text, model=spec.name))
        of_clip = np.flatnonzero(rows.clip_of_row == index)
        np.testing.assert_array_equal(served[spec.audio.name], rows.audio[rows.window_of_row[of_clip]])
        if rows.tokens is not None:
            np.testing.assert_array_equal(served[spec.tokens.name], rows.tokens[of_clip])


def test_served_answers_are_onnx_runtimes(client, triton, corpus, model):
    spec, contract, folder = model
    exported, graph_file = session(folder / MODEL_FILE), spec.cpu.graph_file
    is_exported = contract.graphs[graph_file].precision == contract.graphs[MODEL_FILE].precision
    with (
        triton_grpc.InferenceServerClient(triton.grpc_address) as server,
        ServedGraph(folder / graph_file, spec) as served,  # by the provider that Triton has, where it serves int8, too
    ):
        for clip in held_out(corpus)[:15]:
            audio = (DATA / clip.path).read_bytes()
            preprocessed = client.preprocess(audio, transcript=clip.text, model=spec.name)
            arrays = arrays_of(preprocessed)
            (expected,) = served.run(["probability"], arrays)
            if is_exported:
                np.testing.assert_allclose(expected, exported.run(["probability"], arrays)[0], atol=1e-5)

            inputs = []
            for tensor in preprocessed.inputs:
                inputs.append(triton_grpc.InferInput(tensor.name, list(tensor.shape), tensor.datatype))
                inputs[-1].set_data_from_numpy(arrays[tensor.name])
            answer = server.infer(spec.name, inputs, model_version=preprocessed.model_version).as_numpy("probability")
            np.testing.assert_allclose(answer, expected, atol=1e-5)

            verdict = client.classify(audio, transcript=clip.text, model=spec.name)
            point = contract.decision.point(has_transcript=True)
            assert verdict.probability == pytest.approx(point.calibrate(expected).max(), abs=1e-5)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_concurrent_caller_gets_its_own_answer_from_shared_batches(client, triton, corpus, name):
    # VGG-16 takes tens of times as long.
    callers, rounds, count = (6, 1, 24) if MODELS[name].audio == PICTURE else (24, 4, 48)
    clips = held_out(corpus)[:count]

    def verdict(clip):
        return client.classify((DATA / clip.path).read_bytes(), transcript=clip.text, model=name)

    def probability(clip):
        return verdict(clip).probability

    version = str(verdict(clips[0]).model_version)  # Triton may hold the one before it, too
    alone = [probability(clip) for clip in clips]
    with triton_grpc.InferenceServerClient(triton.grpc_address) as server:
        (before,) = server.get_inference_statistics(name, version).model_stats
        with ThreadPoolExecutor(callers) as pool:
            # Most models answer sooner than the next question comes: the first ones wait for each other.
            with Frozen(triton, name) as frozen:
                answers = [pool.submit(probability, clip) for clip in clips * rounds]
                assert wait_until(lambda: frozen.has_waiting_requests(callers // 3), 60)
            together = [answer.result() for answer in answers]
        (after,) = server.get_inference_statistics(name, version).model_stats

    np.testing.assert_allclose(together, alone * rounds, atol=1e-5)
    assert len(set(np.round(alone, 6))) > count / 4  # distinct answers, or the comparison above would show nothing
    assert after.execution_count - before.execution_count < after.inference_count - before.inference_count


def test_preprocess_answers_one_row_a_window(client):
    preprocessed = client.preprocess(bytes(20 * 8000), format=AudioFormat.mulaw())

    expected = [(0, 7), (3.5, 10.5), (7, 14), (10.5, 17.5), (13, 20)]
    np.testing.assert_allclose([(row.start_s, row.end_s) for row in preprocessed.rows], expected, atol=1e-6)
