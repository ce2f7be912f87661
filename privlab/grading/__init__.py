"""The instructor's side: the learner's code runs in a sandbox, the tests outside it."""
