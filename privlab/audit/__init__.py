"""The auditor: a lower bound on the true epsilon of a mechanism, from its outputs alone.

:func:`audit` calls a mechanism many times on two neighbouring data sets and looks for an *event* (a
set of outputs) that comes up more often with one of them than the claimed epsilon allows. It cannot
show that a mechanism is private; it can show that it is not, and with which event.

The parts: ``outputs`` turns outputs of any kind into columns of numbers, ``events`` learns where
the two data sets differ, ``bounds`` holds the statistics, ``report`` tells what was found.

Sources: Zeyu Ding, Yuxin Wang, Guanhong Wang, Danfeng Zhang and Daniel Kifer, "Detecting
Violations of Differential Privacy" (2018); Benjamin Bichsel, Samuel Steffen, Ilija Bogunovic and
Martin Vechev, "DP-Sniper: Black-Box Discovery of Differential Privacy Violations using
Classifiers" (2021); Matthew Jagielski, Jonathan Ullman and Alina Oprea, "Auditing Differentially
Private Machine Learning: How Private is Private SGD?" (2020).
"""

from .auditor import Batched, audit
from .report import AuditReport

__all__ = ["AuditReport", "Batched", "audit"]
