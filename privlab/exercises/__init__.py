"""The exercises of the course: one module a lesson, each with its tuple ``EXERCISES``."""
