"""Telephony protocols as sources of live calls; each protocol's module is imported only where it is used."""
