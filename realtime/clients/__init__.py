"""Clients of a project's lambdas, generated."""
