"""What the attacks found of a design, and how it is told: a table, a figure, a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .case import HOSPITALS
from .design import Design, check_plan

#: The attacks, in the order in which the course teaches them.
ATTACKS = ("linkage", "membership", "inversion", "theft", "wiretap", "audit")

#: What a design should be worth, at least: see :attr:`Report.score`.
WORTH = 0.7


@dataclass(frozen=True)
class Finding:
    """What one attack achieved.

    Attributes:
        attack: One of :data:`ATTACKS`.
        success: How far it got; what that is, ``measure`` says.
        limit: What the consortium allows at most.
        measure: What ``success`` measures.
        evidence: One sentence.
    """

    attack: str
    success: float
    limit: float
    measure: str
    evidence: str

    @property
    def resisted(self) -> bool:
        """Whether the design held."""
        return self.success <= self.limit


@dataclass(frozen=True)
class Report:
    """What all attacks found, and what the design is worth.

    Attributes:
        design: The name of the design.
        findings: One for each of :data:`ATTACKS`.
        utility: Of ``"table"``, ``"model"`` and ``"statistic"``, from 0 (worthless) to 1.
        auc: Area under the ROC curve of the model on held-out patients: ``"all"``, and each
            hospital that has at least five of both diagnoses there.
        error: Mean absolute error of the statistic, in mg/dl.
        epsilon_model: The model's ε at the plan's δ, by its noise as measured: an estimate.
    """

    design: str
    findings: tuple[Finding, ...]
    utility: dict[str, float]
    auc: dict[str, float]
    error: float
    epsilon_model: float

    @property
    def resisted(self) -> int:
        """How many attacks the design resists."""
        return sum(finding.resisted for finding in self.findings)

    @property
    def score(self) -> float:
        """The mean of the utilities, from 0 to 1; 0 if an attack succeeds."""
        return self.overall if self.resisted == len(ATTACKS) else 0.0

    @property
    def overall(self) -> float:
        """The mean of the utilities, whatever the attacks found."""
        return float(np.mean(list(self.utility.values())))

    def table(self) -> pd.DataFrame:
        """Return one row an attack: what it measured, how much, the limit, whether it held."""
        rows = [
            (f.measure, f.success, f.limit, "resisted" if f.resisted else "BROKEN")
            for f in self.findings
        ]
        names = [finding.attack for finding in self.findings]
        return pd.DataFrame(rows, names, ["measure", "found", "allowed", "verdict"])


def leaderboard(reports: Sequence[Report]) -> pd.DataFrame:
    """Return one row a design, the best first: attacks resisted, utilities, score."""
    rows = [
        {"resisted": r.resisted, **r.utility, "utility": r.overall, "score": r.score}
        for r in reports
    ]
    table = pd.DataFrame(rows, [report.design for report in reports])
    return table.sort_values(["score", "resisted", "utility"], ascending=False)


def draw_leaderboard(reports: Sequence[Report], yours: str | None = None) -> Any:
    """Draw which attack broke which design, and what each is worth.

    Args:
        reports: At least one.
        yours: The name of the design to mark.

    Returns:
        The figure and a text alternative with its numbers.

    Raises:
        ValueError: There is no report, or none of the name ``yours``.
    """
    from .. import plots

    if not reports or (yours and yours not in [report.design for report in reports]):
        raise ValueError(f"reports must hold at least one report, and that of {yours!r}")
    order = list(leaderboard(reports).index)
    ranked = sorted(reports, key=lambda report: order.index(report.design))
    fig, (left, right) = plots.figure(columns=2, width=10, height=1.7 + 0.42 * len(ranked))
    broken = np.array([[not f.resisted for f in report.findings] for report in ranked])
    left.imshow(broken, cmap="Blues", vmin=-0.2, vmax=1.1, aspect="auto")
    for (row, column), fell in np.ndenumerate(broken):
        sign, colour = ("✗", "white") if fell else ("✓", "black")
        left.text(column, row, sign, ha="center", va="center", fontsize=13, color=colour)
    marked = [f"▶ {name}" if name == yours else name for name in order]
    left.set_yticks(range(len(ranked)), marked)
    left.set_xticks(range(len(ATTACKS)), ATTACKS, rotation=30, ha="right")
    left.grid(False)
    plots.label(left, "Attacks: ✗ succeeds, ✓ is resisted", "")
    for row, report in enumerate(ranked):
        right.barh(
            row, report.overall, height=0.6, edgecolor=plots.BLUE,
            color=plots.BLUE if report.score else "white", hatch="" if report.score else "///",
        )  # fmt: skip
        right.text(report.overall + 0.02, row, f"{report.overall:.2f}", va="center")
    right.set(yticks=[], xlim=(0, 1.12), ylim=left.get_ylim())
    plots.label(right, "Utility (hatched: an attack succeeds)", "mean of table, model, statistic")
    told = "; ".join(
        f"{r.design} resists {r.resisted} of {len(ATTACKS)} attacks, utility {r.overall:.2f}"
        for r in ranked
    )
    return fig, f"Designs, the best first. {told}."


def document(design: Design, report: Report) -> str:
    """Write the card that goes with what is released, as Markdown.

    After Margaret Mitchell and others, "Model cards for model reporting" (2019), and Timnit Gebru
    and others, "Datasheets for datasets" (2021); what a promise of differential privacy has to say
    is that of Joseph Near and others (NIST SP 800-226, 2025).
    """
    plan = check_plan(design.plan)
    honest = len(HOSPITALS) - plan["colluding"]
    total = plan["epsilon_model"] + plan["epsilon_statistic"]
    aucs = ", ".join(f"{name} {value:.2f}" for name, value in report.auc.items())
    broken = [finding for finding in report.findings if not finding.resisted]
    attacks = "".join(f"- {f.attack}: {f.evidence}\n" for f in broken) or "- none succeeded\n"
    transport = (
        f"{plan['minimum_version']} or newer, server "
        f"{'verified' if plan['verify'] else 'NOT verified'}, clients "
        f"{'identified' if plan['client_certificate'] else 'NOT identified'}"
        if plan["tls"]
        else "NOT encrypted"
    )
    return f"""### Card of the release "{design.name}"

**Released:** a planning table, a logistic regression for heart disease ({plan["rounds"]} rounds), \
the mean cholesterol.

**Promise:** ε = {plan["epsilon_model"]:.3g}, δ = {plan["delta"]:.0e} for the model; \
ε = {plan["epsilon_statistic"]:.3g}, δ = 0 for the mean; together ε = {total:.3g}, \
δ = {plan["delta"]:.0e}. Unit: one patient with one row. Adjacency: add or remove one patient. \
The table is *not* covered by ε.

**Noise:** of standard deviation {plan["noise_multiplier"] * plan["max_grad_norm"]:.3g} on each \
round's sum of gradients (norm at most {plan["max_grad_norm"]:g}), shared by {honest} hospitals: \
for the model, the promise holds while at most {plan["colluding"]} of {len(HOSPITALS)} collude. \
The noise of the mean is drawn in one place, which sees all values and is trusted. Accounting: \
Gaussian, exact; ε by the noise as measured (an estimate): {report.epsilon_model:.3g}.

**Who sees what:** the researcher the three releases; the server masked updates and their sum; \
the network {transport}.

**Worth:** AUC on held-out patients: {aucs} (a hospital with fewer than 5 of either diagnosis is \
not listed). Mean absolute error of the mean: {report.error:.2g} mg/dl.

**Attacks that succeed:**

{attacks}
**Not protected:** what this card says: worth and settings were found on real patients, without \
noise, and no ε covers them; that the table goes out was decided with its diagnoses; against \
whoever draws the noise of the mean; against attackers who \
know more than the register, or learn of several tables; \
against hospitals that lie about their data or leave during a round; against the floating-point \
attack on the noise; timing and sizes; whoever holds a hospital's key. Not known: how the model \
does for patients of other hospitals.
"""
