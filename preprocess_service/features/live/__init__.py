"""Features of calls that go on; apart from the others, whose code names what training keeps on disk."""
