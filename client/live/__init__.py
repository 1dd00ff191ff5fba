"""Calls judged while they go on."""
