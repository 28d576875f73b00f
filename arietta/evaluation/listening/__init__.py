"""Listening tests: a plan of pairs, a page, and what answers say."""
