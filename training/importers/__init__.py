"""Published corpora, as found on disk, to the one manifest format; see README.md."""
