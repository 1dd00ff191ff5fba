"""The audio features of `preprocess_service.features` as an ONNX graph, so that a GPU computes them beside the models.

`graph.build()` is the whole: telephone samples to log-mel. What it must equal is `features.mel.multimodal_mel` of
`features.audio.resample`; tests/unit/test_front_end.py compares them.
"""
