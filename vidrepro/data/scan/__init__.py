"""The full check of a download: every clip decoded once, in processes that may die without taking anything along."""
