"""The attacks of the course: what the lessons, and the checks of the exercises, attack with."""
