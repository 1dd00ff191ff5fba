"""`python -m loadtest tune`: which of Triton's settings serves a model best on this machine, by measurement."""
